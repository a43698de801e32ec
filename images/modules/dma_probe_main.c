// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A client of one dmaengine channel, step by step: it prepares copies, issues,
 * waits, asks, pauses and terminates when it is told to, and then shows for each
 * copy what the driver said about it beside what the memory says.
 *
 * In debugfs, directory dma_probe: commands are written to "command", one a
 * write; "copies" lists every copy since the module was loaded, one JSON object
 * a line.
 *
 *   prepare COUNT LENGTH interrupt|polled   prepare and submit copies
 *   interrupt                               the same for a descriptor without data
 *   issue                                   start what was submitted
 *   wait MS                                 for the callbacks of all copies
 *   poll MS                                 ask for every copy's status until none is under way
 *   status                                  ask once for every copy's status
 *   pause, resume, terminate                as dmaengine defines them
 *
 * A wait or poll that takes too long is no error: the list shows it.
 */
#include <linux/completion.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/dmaengine.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "dma_probe_copy.h"

#define MAX_COPIES	64
#define MAX_LENGTH	SZ_64K
#define MAX_WAIT_MS	60000
#define POLL_GAP_US	10

static struct probe {
	struct dma_chan *chan;
	struct dentry *folder;
	struct mutex lock;		/* one command at a time */
	unsigned int count;
	struct probe_copy copies[MAX_COPIES];
} probe = {
	.lock = __MUTEX_INITIALIZER(probe.lock),
};

static void probe_callback(void *data, const struct dmaengine_result *result)
{
	probe_copy_note_told(data, result ? result->result : DMA_TRANS_NOERROR);
}

/* @length 0 prepares a descriptor without data. */
static int prepare_one(unsigned int length, bool interrupt)
{
	unsigned long flags = interrupt ? DMA_PREP_INTERRUPT : 0;
	struct dma_async_tx_descriptor *tx;
	struct probe_copy *copy;
	int error;

	if (!length && !probe.chan->device->device_prep_dma_interrupt)
		return -EOPNOTSUPP;
	if (probe.count == MAX_COPIES)
		return -ENOSPC;
	copy = &probe.copies[probe.count];
	error = probe_copy_init(copy, probe.chan->device->dev, probe.count, length);
	if (error)
		return error;
	copy->polled = !interrupt;
	probe.count++;
	if (length)
		tx = dmaengine_prep_dma_memcpy(probe.chan, probe_copy_destination(copy),
					       probe_copy_source(copy), length, flags);
	else
		tx = probe.chan->device->device_prep_dma_interrupt(probe.chan, flags);
	if (!tx)
		return -EIO;
	if (interrupt) {
		tx->callback_result = probe_callback;
		tx->callback_param = copy;
	}
	copy->cookie = dmaengine_submit(tx);
	return dma_submit_error(copy->cookie);
}

static int prepare(unsigned int count, unsigned int length, bool interrupt)
{
	int error = 0;

	while (count-- && !error)
		error = prepare_one(length, interrupt);
	return error;
}

static void issue_all(void)
{
	ktime_t now = ktime_get();
	unsigned int i;

	for (i = 0; i < probe.count; i++)
		if (!probe.copies[i].issued)
			probe.copies[i].issued = now;
	dma_async_issue_pending(probe.chan);
}

static void wait_for_all(unsigned int timeout_ms)
{
	unsigned long left = msecs_to_jiffies(timeout_ms);
	unsigned int i;

	for (i = 0; i < probe.count; i++)
		left = wait_for_completion_timeout(&probe.copies[i].heard, left);
}

/*
 * Asks for each copy that is not known to be done; whether any is under way. A client
 * that polls is told by the status, one with a callback only by that. Its bytes are
 * counted at once, before another copy is asked for and more data arrive.
 */
static bool ask_for_all(bool polls)
{
	bool under_way = false;
	struct probe_copy *copy;
	unsigned int i;

	for (i = 0; i < probe.count; i++) {
		copy = &probe.copies[i];
		if (copy->status == DMA_COMPLETE || copy->status == DMA_ERROR)
			continue;
		copy->status = dma_async_is_tx_complete(probe.chan, copy->cookie, NULL, NULL);
		under_way |= copy->status == DMA_IN_PROGRESS;
		if (polls && copy->polled && copy->status == DMA_COMPLETE)
			probe_copy_note_told(copy, DMA_TRANS_NOERROR);
	}
	return under_way;
}

static void poll_all(unsigned int timeout_ms)
{
	ktime_t end = ktime_add_ms(ktime_get(), timeout_ms);
	bool under_way;

	do {
		under_way = ask_for_all(true);
		fsleep(POLL_GAP_US);
	} while (under_way && ktime_before(ktime_get(), end));
}

static int run_command(int count, char **words)
{
	unsigned int copies, length, time_ms;

	if (count == 1 && !strcmp(words[0], "issue")) {
		issue_all();
		return 0;
	}
	if (count == 1 && !strcmp(words[0], "status")) {
		ask_for_all(false);
		return 0;
	}
	if (count == 1 && !strcmp(words[0], "interrupt"))
		return prepare_one(0, true);
	if (count == 1 && !strcmp(words[0], "pause"))
		return dmaengine_pause(probe.chan);
	if (count == 1 && !strcmp(words[0], "resume"))
		return dmaengine_resume(probe.chan);
	if (count == 1 && !strcmp(words[0], "terminate"))
		return dmaengine_terminate_sync(probe.chan);
	if (count == 4 && !strcmp(words[0], "prepare") &&
	    !kstrtouint(words[1], 0, &copies) && !kstrtouint(words[2], 0, &length) &&
	    length && length <= MAX_LENGTH &&
	    (!strcmp(words[3], "interrupt") || !strcmp(words[3], "polled")))
		return prepare(copies, length, !strcmp(words[3], "interrupt"));
	if (count != 2 || kstrtouint(words[1], 0, &time_ms) || time_ms > MAX_WAIT_MS)
		return -EINVAL;
	if (!strcmp(words[0], "wait"))
		wait_for_all(time_ms);
	else if (!strcmp(words[0], "poll"))
		poll_all(time_ms);
	else
		return -EINVAL;
	return 0;
}

static ssize_t command_write(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	char **words, *text;
	int count, error;

	text = memdup_user_nul(from, min_t(size_t, size, PAGE_SIZE));
	if (IS_ERR(text))
		return PTR_ERR(text);
	words = argv_split(GFP_KERNEL, text, &count);
	kfree(text);
	if (!words)
		return -ENOMEM;
	mutex_lock(&probe.lock);
	error = run_command(count, words);
	mutex_unlock(&probe.lock);
	argv_free(words);
	return error ? error : size;
}

static const struct file_operations command_fops = {
	.owner = THIS_MODULE,
	.write = command_write,
};

static int copies_show(struct seq_file *to, void *unused)
{
	unsigned int i;

	mutex_lock(&probe.lock);
	for (i = 0; i < probe.count; i++)
		probe_copy_show(to, &probe.copies[i]);
	mutex_unlock(&probe.lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(copies);

static int __init probe_init(void)
{
	dma_cap_mask_t mask;

	dma_cap_zero(mask);
	dma_cap_set(DMA_MEMCPY, mask);
	probe.chan = dma_request_chan_by_mask(&mask);
	if (IS_ERR(probe.chan))
		return PTR_ERR(probe.chan);
	probe.folder = debugfs_create_dir("dma_probe", NULL);
	debugfs_create_file("command", 0200, probe.folder, NULL, &command_fops);
	debugfs_create_file("copies", 0400, probe.folder, NULL, &copies_fops);
	return 0;
}

static void __exit probe_exit(void)
{
	struct device *dev = probe.chan->device->dev;
	struct probe_copy *copy;
	unsigned int i;

	debugfs_remove(probe.folder);
	dmaengine_terminate_sync(probe.chan);
	for (i = 0; i < probe.count; i++) {
		copy = &probe.copies[i];
		/* An engine that was never done with it may still write: keep it. */
		if (copy->told != NOTHING || copy->status == DMA_COMPLETE)
			probe_copy_free(copy, dev);
	}
	dma_release_channel(probe.chan);
}

module_init(probe_init);
module_exit(probe_exit);

MODULE_DESCRIPTION("Step-by-step client of a dmaengine channel");
MODULE_LICENSE("GPL");
