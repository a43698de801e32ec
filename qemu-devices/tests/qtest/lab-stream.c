/*
 * Migration streams as files, for qtests that break them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "lab-stream.h"

#define LAB_STREAM_WAIT_US  (60 * 1000 * 1000LL)

/* Returns: whether it has completed rather than failed */
static bool lab_stream_wait(QTestState *qts)
{
    int64_t start_us = g_get_monotonic_time();

    for (;;) {
        QDict *response = qtest_qmp(qts, "{'execute': 'query-migrate'}");
        QDict *info = qdict_get_qdict(response, "return");
        g_autofree char *status = NULL;

        g_assert_nonnull(info);
        status = g_strdup(qdict_haskey(info, "status") ?
                          qdict_get_str(info, "status") : "none");
        qobject_unref(response);
        if (g_str_equal(status, "completed") ||
            g_str_equal(status, "failed")) {
            return g_str_equal(status, "completed");
        }
        g_assert_cmpint(g_get_monotonic_time() - start_us, <,
                        LAB_STREAM_WAIT_US);
        g_usleep(1000);
    }
}

static char *lab_stream_file(void)
{
    char *path;
    int fd = g_file_open_tmp("lab-stream-XXXXXX", &path, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    return path;
}

GByteArray *lab_stream_save(QTestState *qts)
{
    g_autofree char *path = lab_stream_file();
    g_autofree char *uri = g_strdup_printf("file:%s", path);
    GByteArray *stream = g_byte_array_new();
    char *contents;
    size_t size;

    qtest_qmp_assert_success(qts, "{'execute': 'migrate', 'arguments': "
                             "{'uri': %s}}", uri);
    g_assert_true(lab_stream_wait(qts));
    g_assert_true(g_file_get_contents(path, &contents, &size, NULL));
    g_byte_array_append(stream, (const uint8_t *)contents, size);
    g_free(contents);
    unlink(path);
    return stream;
}

bool lab_stream_load(QTestState *qts, const GByteArray *stream)
{
    g_autofree char *path = lab_stream_file();
    g_autofree char *uri = g_strdup_printf("file:%s", path);
    bool taken;

    g_assert_true(g_file_set_contents(path, (const char *)stream->data,
                                      stream->len, NULL));
    qtest_qmp_assert_success(qts, "{'execute': 'migrate-incoming', "
                             "'arguments': {'uri': %s, "
                             "'exit-on-error': false}}", uri);
    taken = lab_stream_wait(qts);
    unlink(path);
    return taken;
}

size_t lab_stream_behind(const GByteArray *stream, const void *bytes,
                         size_t size)
{
    const uint8_t *found = memmem(stream->data, stream->len, bytes, size);
    const uint8_t *end = stream->data + stream->len;

    g_assert_nonnull(found);
    g_assert_null(memmem(found + 1, end - found - 1, bytes, size));
    return found - stream->data + size;
}

/* Wait for the only job, and for its success */
static void lab_stream_finish_job(QTestState *qts, const char *id)
{
    int64_t start_us = g_get_monotonic_time();

    for (;;) {
        QDict *response = qtest_qmp(qts, "{'execute': 'query-jobs'}");
        QList *jobs = qdict_get_qlist(response, "return");
        QDict *job = qobject_to(QDict, qlist_peek(jobs));
        bool concluded;

        g_assert_nonnull(job);
        concluded = g_str_equal(qdict_get_str(job, "status"), "concluded");
        if (concluded) {
            g_assert_cmpstr(qdict_get_try_str(job, "error"), ==, NULL);
        }
        qobject_unref(response);
        if (concluded) {
            break;
        }
        g_assert_cmpint(g_get_monotonic_time() - start_us, <,
                        LAB_STREAM_WAIT_US);
        g_usleep(1000);
    }
    qtest_qmp_assert_success(qts, "{'execute': 'job-dismiss', "
                             "'arguments': {'id': %s}}", id);
}

/* A disk that snapshots of the machine go to */
static void lab_stream_make_disk(QTestState *qts)
{
    qtest_qmp_assert_success(qts, "{'execute': 'blockdev-create', "
                             "'arguments': {'job-id': 'create', 'options': "
                             "{'driver': 'qcow2', 'file': 'file', "
                             "'size': 1048576}}}");
    lab_stream_finish_job(qts, "create");
}

void lab_stream_open_disk(QTestState *qts, const char *path, bool make)
{
    qtest_qmp_assert_success(qts, "{'execute': 'blockdev-add', 'arguments': "
                             "{'driver': 'file', 'node-name': 'file', "
                             "'filename': %s}}", path);
    if (make) {
        lab_stream_make_disk(qts);
    }
    qtest_qmp_assert_success(qts, "{'execute': 'blockdev-add', 'arguments': "
                             "{'driver': 'qcow2', 'node-name': 'disk', "
                             "'file': 'file'}}");
}

void lab_stream_snapshot(QTestState *qts, const char *command)
{
    qtest_qmp_assert_success(qts, "{'execute': %s, 'arguments': "
                             "{'job-id': 'job', 'tag': 'tag', "
                             "'vmstate': 'disk', 'devices': ['disk']}}",
                             command);
    lab_stream_finish_job(qts, "job");
}
