// SPDX-License-Identifier: GPL-2.0
/*
 * The hand at a pin of QEMU's Raspberry Pi, whose model of the pins has levels, but finds no edges and raises no
 * interrupts:   echo "17 1 IRQ" >/sys/module/pi_edge/parameters/edge
 * sets the level of pin 17, as from outside, and raises the interrupt that Linux has for that pin.
 */
#include <linux/bits.h>
#include <linux/io.h>
#include <linux/irq.h>
#include <linux/module.h>

#define GPIO 0x3f200000
#define GPSET0 0x1c
#define GPCLR0 0x28

static int edge(const char *said, const struct kernel_param *param)
{
	unsigned int pin, level, irq;
	void __iomem *registers;

	if (sscanf(said, "%u %u %u", &pin, &level, &irq) != 3 || pin > 31)
		return -EINVAL;
	registers = ioremap(GPIO, 0x100);
	if (!registers)
		return -ENOMEM;
	iowrite32(BIT(pin), registers + (level ? GPSET0 : GPCLR0));
	iounmap(registers);
	return generic_handle_irq_safe(irq);
}

static const struct kernel_param_ops ops = { .set = edge };
module_param_cb(edge, &ops, NULL, 0200);
MODULE_DESCRIPTION("Edges at the pins of an emulated Raspberry Pi");
MODULE_LICENSE("GPL");
