# gantry-keeper: static, as the monitor that starts it.
KEEPER_SRC = keeper/keeper.c shared/io.c

ALL += $(BUILD)/gantry-keeper
$(BUILD)/gantry-keeper: $(KEEPER_SRC) shared/io.h keeper/module.mk Makefile | $(BUILD)
	$(STATIC_CC) $(WARN) $(HARDEN) -Os -static -ffunction-sections -fdata-sections -Wl,--gc-sections -Wl,-z,noseparate-code -s -o $@ $(KEEPER_SRC)
