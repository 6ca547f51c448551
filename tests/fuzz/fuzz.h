/* fuzz: what the harnesses share. Each fuzz_NAME.c is a program that libFuzzer drives with mutated bytes (the preset
 * `fuzz`), and, linked with replay.c, a test of every build that runs the kept inputs in corpus/NAME/ once. An input
 * that made a harness fail stays there, named after what it broke. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

void must(bool ok, const char *what); /* aborts, and says what does not hold */
