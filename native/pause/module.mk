# gantry-pause and gantry-hello: no C library on x86-64 and arm64, a static one elsewhere.
RAW_HAS = $(filter x86_64 aarch64,$(shell uname -m))
RAW_FLAGS = $(if $(RAW_HAS),-nostdlib -nostartfiles -ffreestanding -fno-stack-protector -fno-asynchronous-unwind-tables -Wl$(comma)-z$(comma)noseparate-code -Wl$(comma)--build-id=none,-DRAW_LIBC)
comma = ,
RAW_BUILD = $(CC) $(WARN) -Os -static $(RAW_FLAGS) -s

ALL += $(BUILD)/gantry-pause $(BUILD)/gantry-hello
$(BUILD)/gantry-pause: pause/pause.c shared/raw.h pause/module.mk Makefile | $(BUILD)
	$(RAW_BUILD) -o $@ $<
$(BUILD)/gantry-hello: pause/selfcheck.c shared/raw.h pause/module.mk Makefile | $(BUILD)
	$(RAW_BUILD) -o $@ $<
