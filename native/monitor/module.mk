# gantry-monitor: static, with musl when it is there (smaller), else with the system's C library.
MONITOR_SRC = $(wildcard monitor/*.c) shared/frame.c shared/io.c
MONITOR_DEP = $(wildcard monitor/*.h) $(wildcard shared/*.h)
STATIC_CC = $(if $(shell command -v $(MUSL) 2>/dev/null),$(MUSL),$(CC))

ALL += $(BUILD)/gantry-monitor
$(BUILD)/gantry-monitor: $(MONITOR_SRC) $(MONITOR_DEP) monitor/module.mk Makefile | $(BUILD)
	$(STATIC_CC) $(WARN) $(HARDEN) -Os -static -ffunction-sections -fdata-sections -Wl,--gc-sections -Wl,-z,noseparate-code -s -o $@ $(MONITOR_SRC)

# The same program for finding bugs: GANTRY_TEST_MONITOR=native/build/gantry-monitor-asan runs its suite with it.
.PHONY: asan
asan: $(BUILD)/gantry-monitor-asan
$(BUILD)/gantry-monitor-asan: $(MONITOR_SRC) $(MONITOR_DEP) monitor/module.mk Makefile | $(BUILD)
	$(CC) $(WARN) -D_GNU_SOURCE $(SANITIZE) -o $@ $(MONITOR_SRC)
