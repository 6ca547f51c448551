# Writes the header OUT with the version of the service NAME in SOURCE: the last commit that changed what it is made from,
# so that no other service's commit makes it another program; OTHERWISE where there is no git.
set(made_from services/chassis services/${NAME} schemas/chassis schemas/${NAME})
set(git git -C ${SOURCE} -c core.abbrev=10)
execute_process(
  COMMAND ${git} log -1 --format=%h -- ${made_from}
  OUTPUT_VARIABLE version OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
execute_process(
  COMMAND ${git} status --porcelain -- ${made_from} OUTPUT_VARIABLE changed ERROR_QUIET)
if(NOT version)
  set(version ${OTHERWISE})
elseif(changed)
  string(APPEND version -dirty)
endif()
file(CONFIGURE OUTPUT ${OUT} CONTENT "#define SERVICE_VERSION \"${version}\"\n")
