# shellcheck shell=bash disable=SC2164 # errors end the program
# What is fetched and what is built: Kafka and the registry by Maven, the services by CMake.

# Named after the pom's content: another pin is another folder.
parts_folder() { say "$RETURNS_JAVA/$(sha256sum "$RETURNS_ROOT/compose/local/pom.xml" | cut -c 1-12)"; }

parts_download() {
    local folder=$1 new=$1.new
    exec 8>>"$RETURNS_JAVA/lock"
    flock 8
    if [[ -d $folder ]]; then return; fi
    rm -rf "$new"
    mvn -B -ntp -f "$RETURNS_ROOT/compose/local/pom.xml" package -Dparts="$new"
    mkdir "$new/registry"
    tar -xzf "$new/registry.tar.gz" -C "$new/registry"
    rm "$new/registry.tar.gz"
    mv -T "$new" "$folder"
}

parts_need() {
    local folder
    folder=$(parts_folder)
    if [[ -d $folder ]]; then return; fi
    mkdir -p "$RETURNS_JAVA"
    step "Fetching Kafka and the Schema Registry" parts_download "$folder"
}

# build_preset PRESET [TARGET…]: all, or only these. A folder that was configured for another place on the disk is made anew.
build_preset() {
    local folder="$RETURNS_ROOT/build/$1" preset=$1
    shift
    mkdir -p "$folder"
    exec 8>>"$RETURNS_ROOT/build/lock.$preset"
    flock 8
    if [[ -f $folder/CMakeCache.txt ]] && ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$RETURNS_ROOT" "$folder/CMakeCache.txt"; then
        rm -rf "$folder"
    fi
    cd "$RETURNS_ROOT"
    cmake --preset "$preset"
    cmake --build --preset "$preset" ${1+--target "$@"}
}

# programs_install NAME…: a run has its own copies of the programs, so that building does not reach into what runs.
programs_install() {
    local name from to
    for name in "$@"; do
        from=$RETURNS_ROOT/build/release/bin/$name to=$RETURNS_HOME/bin/$name
        if cmp -s "$from" "$to"; then continue; fi
        cp "$from" "$to.new"
        mv "$to.new" "$to"
    done
}
