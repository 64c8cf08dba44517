# SPDX-License-Identifier: Apache-2.0
# The Node-API addon: one shared object from all .c files of this folder. `make asan` builds the sanitized twin,
# loaded with LD_PRELOAD of libasan (test/native/addon-asan.sh).
ADDON_SRC = $(sort $(wildcard addon/*.c))
ADDON_HDR = $(wildcard addon/*.h)
ADDON_FLAGS = $(WARN) $(HARDEN) -shared -fPIC -fvisibility=hidden -pthread -isystem $(NODE_INCLUDE)
ALL += $(BUILD)/gantry.node

$(BUILD)/gantry.node: $(ADDON_SRC) $(ADDON_HDR) addon/module.mk | $(BUILD)
	$(CC) $(ADDON_FLAGS) -O2 -Wl,-z,relro,-z,now -o $@ $(ADDON_SRC)

$(BUILD)/gantry-asan.node: $(ADDON_SRC) $(ADDON_HDR) addon/module.mk | $(BUILD)
	$(CC) $(WARN) -D_GNU_SOURCE -shared -fPIC -fvisibility=hidden -pthread -isystem $(NODE_INCLUDE) -O1 -g \
		-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -o $@ $(ADDON_SRC)

.PHONY: asan
asan: $(BUILD)/gantry-asan.node
