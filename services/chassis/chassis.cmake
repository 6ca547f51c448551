# How the chassis and the services are built. Included once, by the top CMakeLists.txt.

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
option(RETURNS_TESTS "Build the unit and component tests too" OFF)
option(RETURNS_FUZZ "Build the fuzzers, with clang, in place of the tests that replay their inputs" OFF)
option(RETURNS_WERROR "Treat warnings as errors" OFF)

find_package(PkgConfig REQUIRED)
find_package(civetweb REQUIRED)
pkg_check_modules(RDKAFKA REQUIRED IMPORTED_TARGET rdkafka)
pkg_check_modules(AVRO REQUIRED IMPORTED_TARGET avro-c)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)
pkg_check_modules(CURL REQUIRED IMPORTED_TARGET libcurl)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(CRYPTO REQUIRED IMPORTED_TARGET libcrypto)
pkg_check_modules(ZLIB REQUIRED IMPORTED_TARGET zlib)

add_library(house_rules INTERFACE)
target_compile_options(house_rules INTERFACE
  -Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings -Wvla -Wformat=2
  $<$<C_COMPILER_ID:Clang>:-Wno-missing-field-initializers> # gcc lets a table leave out what is zero
  $<$<BOOL:${RETURNS_WERROR}>:-Werror>
  $<$<CONFIG:Release>:-fstack-protector-strong -fstack-clash-protection -fcf-protection -D_FORTIFY_SOURCE=2>)
target_compile_definitions(house_rules INTERFACE _GNU_SOURCE)
target_link_options(house_rules INTERFACE $<$<CONFIG:Release>:-pie -Wl,-z,relro,-z,now,-z,noexecstack>)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

# assets(TARGET SYMBOL FILE…): compiles files into the target as `const struct asset SYMBOL[]` and SYMBOL_n (assets.h).
function(assets target symbol)
  set(stem ${CMAKE_CURRENT_BINARY_DIR}/assets/${target})
  set(blobs ".section .note.GNU-stack,\"\",%progbits\n.section .rodata\n")
  set(externs "")
  set(rows "")
  set(i 0)
  foreach(file IN LISTS ARGN)
    get_filename_component(name ${file} NAME)
    set(blob ${symbol}_${i})
    string(APPEND blobs ".global ${blob}\n.global ${blob}_end\n${blob}:\n.incbin \"${file}\"\n${blob}_end:\n.byte 0\n")
    string(APPEND externs "extern const char ${blob}[], ${blob}_end[];\n")
    file(SIZE ${file} bytes)
    string(APPEND rows "    {\"${name}\", ${blob}, ${bytes}},\n")
    math(EXPR i "${i} + 1")
  endforeach()
  # A change of a file's size re-runs CMake, since the table holds it.
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${ARGN})
  file(CONFIGURE OUTPUT ${stem}.S CONTENT "${blobs}" @ONLY)
  file(CONFIGURE OUTPUT ${stem}.c @ONLY CONTENT
    "#include \"chassis/base/assets.h\"\n${externs}extern const struct asset ${symbol}[];\nextern const size_t ${symbol}_n;\nconst struct asset ${symbol}[] = {\n${rows}    {0}};\nconst size_t ${symbol}_n = ${i};\n")
  set_source_files_properties(${stem}.S PROPERTIES OBJECT_DEPENDS "${ARGN}")
  target_sources(${target} PRIVATE ${stem}.S ${stem}.c)
endfunction()

# What each room needs besides the rooms that it may use.
set(libraries_base m PkgConfig::RDKAFKA PkgConfig::AVRO PkgConfig::SQLITE PkgConfig::CURL PkgConfig::CRYPTO civetweb::civetweb)
set(libraries_store PkgConfig::SQLITE PkgConfig::CRYPTO)
set(libraries_avro PkgConfig::AVRO PkgConfig::CURL m)
set(libraries_kafka PkgConfig::RDKAFKA PkgConfig::CRYPTO)
set(libraries_audit PkgConfig::CRYPTO)
set(libraries_events PkgConfig::RDKAFKA)
set(libraries_outgoing PkgConfig::RDKAFKA PkgConfig::CRYPTO)
set(libraries_incoming PkgConfig::RDKAFKA)
set(libraries_web PkgConfig::CURL PkgConfig::CRYPTO PkgConfig::ZLIB civetweb::civetweb m)
set(libraries_fleet PkgConfig::RDKAFKA PkgConfig::CURL)
set(libraries_pages PkgConfig::RDKAFKA)
set(libraries_rebuild PkgConfig::RDKAFKA)

# room(NAME MAY_USE): the library chassis_NAME of services/chassis/NAME/*.c, linked to what its row of rooms.txt names and
# to nothing else. The target `rooms` holds it to that: a program of the whole room and what it is linked to, and the same
# objects as a shared library. Neither can be made where a symbol is missing. Sanitizers bring symbols of their own.
function(room name may_use)
  file(GLOB sources CONFIGURE_DEPENDS ${CHASSIS_DIR}/${name}/*.c)
  list(REMOVE_ITEM sources ${CHASSIS_DIR}/service/main.c)
  add_library(chassis_${name} STATIC ${sources})
  target_compile_definitions(chassis_${name} PUBLIC $<$<BOOL:${RETURNS_TESTS}>:RETURNS_CRASH_POINTS>)
  target_include_directories(chassis_${name} PUBLIC ${CHASSIS_DIR}/..)
  list(TRANSFORM may_use PREPEND chassis_ OUTPUT_VARIABLE static)
  target_link_libraries(chassis_${name} PUBLIC house_rules PkgConfig::JANSSON PRIVATE ${static} ${libraries_${name}})
  if(CMAKE_C_FLAGS MATCHES sanitize)
    return()
  endif()
  file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/rooms/main.c CONTENT "int main(void) { return 0; }\n")
  add_executable(room_${name} EXCLUDE_FROM_ALL ${CMAKE_BINARY_DIR}/rooms/main.c)
  target_link_libraries(room_${name} PRIVATE $<LINK_LIBRARY:WHOLE_ARCHIVE,chassis_${name}>)
  add_library(shared_${name} SHARED EXCLUDE_FROM_ALL $<TARGET_OBJECTS:chassis_${name}>)
  set_target_properties(shared_${name} PROPERTIES LINKER_LANGUAGE C)
  set_target_properties(room_${name} shared_${name} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/rooms LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/rooms)
  target_link_options(shared_${name} PRIVATE LINKER:-z,defs)
  list(TRANSFORM may_use PREPEND shared_ OUTPUT_VARIABLE shared)
  target_link_libraries(shared_${name} PRIVATE ${shared} PkgConfig::JANSSON ${libraries_${name}})
  add_dependencies(rooms room_${name} shared_${name})
endfunction()

set(CHASSIS_DIR ${CMAKE_CURRENT_LIST_DIR})
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CHASSIS_DIR}/rooms.txt)
file(STRINGS ${CHASSIS_DIR}/rooms.txt rows REGEX "^[a-z]")
if(RETURNS_TESTS)
  add_custom_target(rooms ALL)
else()
  add_custom_target(rooms)
endif()
foreach(row IN LISTS rows)
  string(REGEX MATCHALL "[a-z]+" words "${row}")
  list(POP_FRONT words name)
  room(${name} "${words}")
  list(APPEND rooms ${name})
endforeach()
file(
  GLOB chassis_files CONFIGURE_DEPENDS ${CHASSIS_DIR}/pages/html/* ${CHASSIS_DIR}/contracts/api/*.json ${CHASSIS_DIR}/store/sql/*.sql
  ${CMAKE_SOURCE_DIR}/schemas/chassis/*.avsc)
assets(chassis_base chassis_assets ${chassis_files})
target_compile_definitions(chassis_base PRIVATE AVRO_C_VERSION="${AVRO_VERSION}")
target_compile_definitions(chassis_contracts PRIVATE CONTRACTS_VERSION="${PROJECT_VERSION}")
add_library(chassis INTERFACE) # all of it, for services and tests
list(TRANSFORM rooms PREPEND chassis_ OUTPUT_VARIABLE all_rooms)
target_link_libraries(chassis INTERFACE ${all_rooms})

# service(NAME PORT): builds services/NAME/*.c and its folders' with its pages, its schema.sql and the schemas of what it publishes; all but
# its main() as NAME_service, which a test can link.
function(service name port)
  set(dir ${CHASSIS_DIR}/../${name})
  file(GLOB sources CONFIGURE_DEPENDS ${dir}/*.c ${dir}/*/*.c)
  file(GLOB files CONFIGURE_DEPENDS ${dir}/pages/* ${dir}/api.json ${dir}/schema*.sql ${CMAKE_SOURCE_DIR}/schemas/${name}/*.avsc
    ${CMAKE_SOURCE_DIR}/schemas/${name}/snapshots/*.avsc)
  add_library(${name}_service STATIC ${sources})
  target_link_libraries(${name}_service PUBLIC chassis)
  assets(${name}_service service_assets ${files})
  add_executable(${name} ${CHASSIS_DIR}/service/main.c)
  target_compile_definitions(${name} PRIVATE SERVICE_NAME="${name}" SERVICE_PORT=${port})
  target_link_libraries(${name} PRIVATE ${name}_service)
  # What it was built from, as git calls it; looked up with every build, written only when it is another.
  set(folder ${CMAKE_BINARY_DIR}/version/${name})
  add_custom_target(${name}_version COMMAND
    ${CMAKE_COMMAND} -DSOURCE=${CMAKE_SOURCE_DIR} -DNAME=${name} -DOUT=${folder}/version.h -DOTHERWISE=${PROJECT_VERSION}
    -P ${CHASSIS_DIR}/version.cmake BYPRODUCTS ${folder}/version.h)
  add_dependencies(${name} ${name}_version)
  target_include_directories(${name} PRIVATE ${folder})
endfunction()
