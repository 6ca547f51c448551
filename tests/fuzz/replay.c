/* Runs a harness once with each file of a folder, without libFuzzer. */
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

enum { INPUT_MAX = 1 << 21 };

static void replay(const char *folder, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "re");
    uint8_t *room = malloc(INPUT_MAX);
    must(file && room, path);
    size_t n = fread(room, 1, INPUT_MAX, file);
    fclose(file);
    uint8_t *input = realloc(room, n ? n : 1); /* of its size, so that a sanitizer sees a read past the end */
    printf("%s, %zu bytes\n", path, n);
    fflush(stdout); /* the last line names the input that did not come back */
    (void)LLVMFuzzerTestOneInput(input, n);
    free(input);
}

int main(int argc, char *argv[]) {
    DIR *folder = argc == 2 ? opendir(argv[1]) : NULL;
    int n = 0;
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        if (entry->d_name[0] != '.') replay(argv[1], entry->d_name), n++;
    if (folder) closedir(folder);
    must(n > 0, "there are inputs");
    printf("[       OK ] %d inputs\n", n);
    return 0;
}
