// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The memory of one copy: filled so that every byte which is not as it has to be
 * can be told from one that was never written.
 */
#include <linux/dma-mapping.h>
#include <linux/string.h>

#include "dma_probe_copy.h"

/* Bytes before, between and behind source and destination, filled and checked. */
#define GUARD		SZ_4K
#define GUARD_BYTE	0xa5

static size_t memory_size(const struct probe_copy *copy)
{
	return 2 * (size_t)copy->length + 3 * GUARD;
}

static u8 *source_of(const struct probe_copy *copy)
{
	return copy->memory + GUARD;
}

static u8 *destination_of(const struct probe_copy *copy)
{
	return copy->memory + 2 * GUARD + copy->length;
}

/* Differs between neighbours, between pages and between copies; never a guard's. */
static u8 pattern(const struct probe_copy *copy, unsigned int offset)
{
	return (copy->number * 37 + offset * 11 + (offset >> 7) * 5 + 1) & 0x7f;
}

/* Every byte of the destination is wrong until it is written. */
static u8 unwritten(const struct probe_copy *copy, unsigned int offset)
{
	return pattern(copy, offset) ^ 0x55;
}

static void fill(struct probe_copy *copy)
{
	unsigned int i;

	memset(copy->memory, GUARD_BYTE, memory_size(copy));
	for (i = 0; i < copy->length; i++) {
		source_of(copy)[i] = pattern(copy, i);
		destination_of(copy)[i] = unwritten(copy, i);
	}
}

static unsigned int count_wrong(const struct probe_copy *copy, const u8 *bytes, int *first)
{
	unsigned int i, wrong = 0;

	*first = -1;
	for (i = 0; i < copy->length; i++) {
		if (bytes[i] == pattern(copy, i))
			continue;
		if (!wrong++)
			*first = i;
	}
	return wrong;
}

static unsigned int count_unwritten(const struct probe_copy *copy)
{
	unsigned int i, found = 0;

	for (i = 0; i < copy->length; i++)
		found += destination_of(copy)[i] == unwritten(copy, i);
	return found;
}

/* @first: offset of the first wrong one, counted from the destination's start */
static unsigned int count_guard_wrong(const struct probe_copy *copy, long *first)
{
	const u8 *source = source_of(copy), *destination = destination_of(copy);
	const u8 *end = copy->memory + memory_size(copy);
	unsigned int wrong = 0;
	const u8 *at;

	*first = 0;
	for (at = copy->memory; at < end; at++) {
		if (at >= source && at < source + copy->length)
			continue;
		if (at >= destination && at < destination + copy->length)
			continue;
		if (*at != GUARD_BYTE && !wrong++)
			*first = at - destination;
	}
	return wrong;
}

void probe_copy_note_told(struct probe_copy *copy, int told)
{
	int first;

	if (atomic_inc_return(&copy->times_told) > 1)
		return;
	copy->told = told;
	copy->told_ns = ktime_to_ns(ktime_sub(ktime_get(), copy->issued));
	copy->wrong_when_told = count_wrong(copy, destination_of(copy), &first);
	complete_all(&copy->heard);
}

int probe_copy_init(struct probe_copy *copy, struct device *dev, unsigned int number,
		    unsigned int length)
{
	copy->number = number;
	copy->length = length;
	copy->status = NOTHING;
	copy->told = NOTHING;
	init_completion(&copy->heard);
	copy->memory = dma_alloc_coherent(dev, memory_size(copy), &copy->bus, GFP_KERNEL);
	if (!copy->memory)
		return -ENOMEM;
	fill(copy);
	return 0;
}

void probe_copy_free(struct probe_copy *copy, struct device *dev)
{
	dma_free_coherent(dev, memory_size(copy), copy->memory, copy->bus);
}

dma_addr_t probe_copy_source(const struct probe_copy *copy)
{
	return copy->bus + GUARD;
}

dma_addr_t probe_copy_destination(const struct probe_copy *copy)
{
	return copy->bus + 2 * GUARD + copy->length;
}

static const char *told_name(int told)
{
	switch (told) {
	case NOTHING:
		return "nothing";
	case DMA_TRANS_NOERROR:
		return "success";
	case DMA_TRANS_READ_FAILED:
		return "read failed";
	case DMA_TRANS_WRITE_FAILED:
		return "write failed";
	case DMA_TRANS_ABORTED:
		return "aborted";
	}
	return "unknown";
}

static const char *status_name(int status)
{
	switch (status) {
	case NOTHING:
		return "not asked";
	case DMA_COMPLETE:
		return "complete";
	case DMA_IN_PROGRESS:
		return "in progress";
	case DMA_PAUSED:
		return "paused";
	case DMA_ERROR:
		return "error";
	}
	return "unknown";
}

void probe_copy_show(struct seq_file *to, const struct probe_copy *copy)
{
	int first_wrong, first_source;
	unsigned int wrong, source_wrong, guard_wrong;
	long first_guard;
	bool told;

	wrong = count_wrong(copy, destination_of(copy), &first_wrong);
	source_wrong = count_wrong(copy, source_of(copy), &first_source);
	guard_wrong = count_guard_wrong(copy, &first_guard);
	/* Until all of it has been counted, the client has not been told. */
	told = completion_done(&copy->heard);
	seq_printf(to, "{\"copy_number\":%u,\"length\":%u,\"told\":\"%s\",\"times_told\":%d,",
		   copy->number, copy->length, told_name(told ? copy->told : NOTHING),
		   told ? atomic_read(&copy->times_told) : 0);
	seq_printf(to, "\"told_ns\":%llu,\"status\":\"%s\",\"wrong_when_told\":%u,",
		   copy->told_ns, status_name(copy->status), copy->wrong_when_told);
	seq_printf(to, "\"wrong\":%u,\"first_wrong\":%d,\"unwritten\":%u,", wrong, first_wrong,
		   count_unwritten(copy));
	seq_printf(to, "\"source_wrong\":%u,\"guard_wrong\":%u,\"first_guard_wrong\":%ld}\n",
		   source_wrong, guard_wrong, first_guard);
}
