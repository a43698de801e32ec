/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One copy of the client dma_probe: its memory, and what it has been told. */
#ifndef DMA_PROBE_COPY_H
#define DMA_PROBE_COPY_H

#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/dmaengine.h>
#include <linux/ktime.h>
#include <linux/seq_file.h>
#include <linux/types.h>

/* What the client has not heard, in the place of a driver's answer. */
#define NOTHING		-1

/*
 * One copy. Its memory is coherent, so that the CPU sees at any moment what the
 * engine has written, and holds guard, source, guard, destination, guard.
 */
struct probe_copy {
	unsigned int number;
	unsigned int length;		/* 0: a descriptor without data */
	u8 *memory;
	dma_addr_t bus;
	bool polled;			/* without a callback */
	dma_cookie_t cookie;
	ktime_t issued;			/* 0: not yet */
	int status;			/* enum dma_status as last asked for */
	struct completion heard;
	atomic_t times_told;
	/* As it was when the client was told for the first time: */
	int told;			/* enum dmaengine_tx_result */
	u64 told_ns;			/* since it was issued */
	unsigned int wrong_when_told;	/* bytes */
};

/* Fills a copy of zeroes, and its memory. Error: ENOMEM */
int probe_copy_init(struct probe_copy *copy, struct device *dev, unsigned int number,
		    unsigned int length);
void probe_copy_free(struct probe_copy *copy, struct device *dev);

dma_addr_t probe_copy_source(const struct probe_copy *copy);
dma_addr_t probe_copy_destination(const struct probe_copy *copy);

/* The client was told @told, an enum dmaengine_tx_result. Any context. */
void probe_copy_note_told(struct probe_copy *copy, int told);

/* One line of JSON. */
void probe_copy_show(struct seq_file *to, const struct probe_copy *copy);

#endif
