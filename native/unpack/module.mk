# gantry-unpack: the layer extractor. `asan` builds the same sources with ASan and UBSan for the fuzz test.
UNPACK_SRC := $(wildcard unpack/*.c)
UNPACK_HDR := $(wildcard unpack/*.h)
UNPACK_LIBS := -lisal -lzstd -lcrypto -lpthread

ALL += $(BUILD)/gantry-unpack
$(BUILD)/gantry-unpack: $(UNPACK_SRC) $(UNPACK_HDR) unpack/module.mk | $(BUILD)
	$(CC) $(WARN) $(HARDEN) -O2 -fPIE -pie -Wl,-z,relro,-z,now -Wl,--as-needed -o $@ $(UNPACK_SRC) $(UNPACK_LIBS)

.PHONY: asan
asan: $(BUILD)/gantry-unpack-asan
$(BUILD)/gantry-unpack-asan: $(UNPACK_SRC) $(UNPACK_HDR) unpack/module.mk | $(BUILD)
	$(CC) $(WARN) -D_GNU_SOURCE -DUNPACK_SANITIZED -O1 -g -fno-omit-frame-pointer \
	  -fsanitize=address,undefined -fno-sanitize-recover=all -o $@ $(UNPACK_SRC) $(UNPACK_LIBS)
