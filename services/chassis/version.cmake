# Writes the header OUT with the version of SOURCE: what git calls it, or OTHERWISE where there is no git.
execute_process(
  COMMAND git -C ${SOURCE} describe --always --dirty --tags
  OUTPUT_VARIABLE version OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE failed ERROR_QUIET)
if(failed)
  set(version ${OTHERWISE})
endif()
file(CONFIGURE OUTPUT ${OUT} CONTENT "#define RETURNS_VERSION \"${version}\"\n")
