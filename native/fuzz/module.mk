# The unpacker under libFuzzer, with clang: `make fuzz-unpack` builds it; see CONTRIBUTING.md for how to run it.
FUZZ_CC ?= clang
.PHONY: fuzz-unpack
fuzz-unpack: $(BUILD)/unpack-fuzz
$(BUILD)/unpack-fuzz: fuzz/unpack_fuzz.c $(wildcard unpack/*.[ch]) fuzz/module.mk | $(BUILD)
	$(FUZZ_CC) -std=gnu17 -Wall -Wextra -Werror -Wno-unused-parameter -D_GNU_SOURCE -DUNPACK_SANITIZED -O1 -g \
	  -fno-omit-frame-pointer -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
	  -o $@ fuzz/unpack_fuzz.c $(filter-out unpack/main.c,$(UNPACK_SRC)) $(UNPACK_LIBS)
