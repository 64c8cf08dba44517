# C tests: built with the system's C library under ASan and UBSan; `make test` runs them.
MONITOR_TEST_SRC = test/monitor_test.c test/monitor_log_test.c monitor/crilog.c shared/frame.c shared/io.c
SANITIZE = -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all

TESTS += run-monitor-test
$(BUILD)/monitor_test: $(MONITOR_TEST_SRC) $(MONITOR_DEP) test/monitor_test.h test/module.mk | $(BUILD)
	$(CC) $(WARN) -D_GNU_SOURCE $(SANITIZE) -o $@ $(MONITOR_TEST_SRC)

.PHONY: run-monitor-test
run-monitor-test: $(BUILD)/monitor_test
	$(BUILD)/monitor_test ../test/vectors/monitor/frames.json

# What the unpacker's sandbox forbids, tried from inside; test/native/unpack-sandbox.test.ts builds and runs it.
$(BUILD)/unpack_probe: test/unpack_probe.c $(wildcard unpack/*.[ch]) test/module.mk | $(BUILD)
	$(CC) $(WARN) $(HARDEN) -O2 -o $@ test/unpack_probe.c $(filter-out unpack/main.c,$(wildcard unpack/*.c)) $(UNPACK_LIBS)
