/*
 * AMD DMA engines: profiles of time, sockets and the link between them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "hw/pci/pci_regs.h"
#include "amd-ptdma.h"

#define NODE_SIZE       (128 * MiB)
#define FIRST_BUS       32
#define BUS_STEP        16
#define WINDOW_BASE     0xc0000000u

static int64_t transfer_ns(uint64_t size, uint64_t bandwidth)
{
    return bandwidth ? DIV_ROUND_UP(size * 1000000000ULL, bandwidth) : 0;
}

/* The device says what its numbers are, and keeps to them */
static void check_profile(const char *options, const char *profile,
                          uint64_t latency_ns, uint64_t bandwidth)
{
    const uint32_t sizes[] = { 1, 4096, 2 * MiB };
    PTDMADevice d;
    QDict *response;

    ptdma_start(&d, options, PTDMA_POLLED);
    response = ptdma_qmp(d.qts, "{'execute': 'qom-get', 'arguments': "
                         "{'path': 'dma0', 'property': 'profile'}}");
    g_assert_cmpstr(qdict_get_str(response, "return"), ==, profile);
    qobject_unref(response);
    g_assert_cmpint(ptdma_counter(&d, "dma0", "latency-ns"), ==, latency_ns);
    g_assert_cmpint(ptdma_counter(&d, "dma0", "bandwidth"), ==, bandwidth);

    for (int i = 0; i < ARRAY_SIZE(sizes); i++) {
        /* one nanosecond at least, and between slices of 1 MiB */
        int64_t slices = DIV_ROUND_UP(sizes[i], MiB) - 1;
        int64_t expected_ns = latency_ns + transfer_ns(sizes[i], bandwidth);
        PTDMABuffers b;

        ptdma_buffers_init(&b, &d, sizes[i], 0, 0);
        ptdma_submit(&d, b.source, b.destination, b.size);
        g_assert_cmpint(ptdma_wait(&d), ==, MAX(1, expected_ns) + slices);
        ptdma_buffers_check(&b, b.size, -1);
        ptdma_buffers_free(&b);
    }
    ptdma_stop(&d);
}

static void test_profiles(void)
{
    check_profile("", "instant", 0, 0);
    check_profile(",profile=auto", "instant", 0, 0);
    check_profile(",profile=instant", "instant", 0, 0);
    check_profile(",profile=slow", "slow", 100000, 100000000);
    check_profile(",latency-ns=5", "custom", 5, 0);
    check_profile(",bandwidth=1000000000", "custom", 0, 1000000000);
    check_profile(",profile=custom,latency-ns=7,bandwidth=1000003", "custom",
                  7, 1000003);
    /* 208 ns and 8.09 GB/s, stretched 4.46 times */
    check_profile(",profile=zen3", "zen3", 927, 1813901345);
}

static void test_contradictions(void)
{
    static const char *const devices[] = {
        "'profile': 'zen3', 'latency-ns': 1",
        "'profile': 'slow', 'bandwidth': 1",
        "'profile': 'instant', 'latency-ns': 100000",
        "'profile': 'zen2'",
        "'profile': 'custom', 'latency-ns': 9223372036854775808",
    };
    static const char *const fabrics[] = {
        "'profile': 'zen3', 'bandwidth': 1",
        "'profile': 'instant', 'link-bandwidth': 0",
        "'profile': 'zen2'",
    };
    QTestState *qts = qtest_init("-machine q35 -nodefaults "
                                 "-device pcie-root-port,id=rp,chassis=1");

    for (int i = 0; i < ARRAY_SIZE(devices); i++) {
        g_autofree char *command = g_strdup_printf(
            "{'execute': 'device_add', 'arguments': {'driver': 'amd-ptdma', "
            "'id': 'dma0', 'bus': 'rp', %s}}", devices[i]);

        ptdma_qmp_fails(qts, command, NULL);
    }
    for (int i = 0; i < ARRAY_SIZE(fabrics); i++) {
        g_autofree char *command = g_strdup_printf(
            "{'execute': 'object-add', 'arguments': {'qom-type': "
            "'amd-dma-fabric', 'id': 'fab', %s}}", fabrics[i]);

        ptdma_qmp_fails(qts, command, NULL);
    }
    /* and nothing of it is left behind */
    qobject_unref(ptdma_qmp(qts, "{'execute': 'object-add', 'arguments': "
                            "{'qom-type': 'amd-dma-fabric', 'id': 'fab', "
                            "'profile': 'zen3'}}"));
    qobject_unref(ptdma_qmp(qts, "{'execute': 'device_add', 'arguments': "
                            "{'driver': 'amd-ptdma', 'id': 'dma0', "
                            "'bus': 'rp', 'profile': 'zen3', "
                            "'fabric': 'fab'}}"));
    qtest_quit(qts);
}

/* A function on a host bridge of each node, both on one fabric */
static QOSState *nodes_machine(const char *fabric)
{
    return qtest_pc_boot(
        "-machine q35 -nodefaults -m 256M "
        "-object memory-backend-ram,id=ram0,size=128M "
        "-object memory-backend-ram,id=ram1,size=128M "
        "-numa node,nodeid=0,cpus=0,memdev=ram0 "
        "-numa node,nodeid=1,memdev=ram1 "
        "-device pxb-pcie,id=pxb0,bus=pcie.0,bus_nr=%d,numa_node=0 "
        "-device pxb-pcie,id=pxb1,bus=pcie.0,bus_nr=%d,numa_node=1 "
        "-device pcie-root-port,id=rp0,bus=pxb0,chassis=1 "
        "-device pcie-root-port,id=rp1,bus=pxb1,chassis=2 "
        "-device amd-ptdma,id=dma0,bus=rp0,fabric=fab "
        "-device amd-ptdma,id=dma1,bus=rp1,fabric=fab "
        "-object amd-dma-fabric,id=fab,%s",
        FIRST_BUS, FIRST_BUS + BUS_STEP, fabric);
}

static void open_nodes(PTDMADevice *d, const char *fabric)
{
    QOSState *qs = nodes_machine(fabric);

    for (int i = 0; i < 2; i++) {
        int bus = FIRST_BUS + i * BUS_STEP;
        QPCIDevice *port = qpci_device_find(qs->pcibus, bus << 8);

        g_assert_nonnull(port);
        qpci_config_writeb(port, PCI_PRIMARY_BUS, bus);
        qpci_config_writeb(port, PCI_SECONDARY_BUS, bus + 1);
        qpci_config_writeb(port, PCI_SUBORDINATE_BUS, bus + 1);
        qpci_config_writew(port, PCI_MEMORY_BASE, WINDOW_BASE >> 16);
        qpci_config_writew(port, PCI_MEMORY_LIMIT, 0xeff0);
        qpci_config_writew(port, PCI_COMMAND,
                           PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
        g_free(port);
        ptdma_open(&d[i], qs, (bus + 1) << 5, PTDMA_POLLED);
    }
}

/* Start at most one copy on each function; how long each took to complete */
static void check_copies(PTDMADevice *d, const int64_t expected_ns[2],
                         const int nodes[2][2], uint32_t size)
{
    uint32_t tail[2];
    int64_t done_ns[2] = { -1, -1 };

    for (int i = 0; i < 2; i++) {
        uint64_t source = (nodes[i][0] + 1) * NODE_SIZE - 2 * MiB;
        uint64_t destination = (nodes[i][1] + 1) * NODE_SIZE - 1 * MiB;

        ptdma_submit(&d[i], source, destination, size);
        tail[i] = ptdma_read(&d[i], A_Q_TAIL_LO);
    }
    for (int64_t ns = 0; done_ns[0] < 0 || done_ns[1] < 0; ns += 100) {
        g_assert_cmpint(ns, <, 1000000);
        for (int i = 0; i < 2; i++) {
            if (done_ns[i] < 0 && ptdma_read(&d[i], A_Q_HEAD_LO) == tail[i]) {
                done_ns[i] = ns;
            }
        }
        ptdma_step(d[0].qts, 100);
    }
    g_assert_cmpint(done_ns[0], ==, expected_ns[0]);
    g_assert_cmpint(done_ns[1], ==, expected_ns[1]);
}

static void close_nodes(PTDMADevice *d)
{
    ptdma_close(&d[1]);
    ptdma_stop(&d[0]);
}

static void test_sockets(void)
{
    static const struct {
        /* of dma0 on node 0, of dma1 on node 1: from, to */
        int nodes[2][2];
        int64_t expected_ns[2];
    } cases[] = {
        /* at home: each socket's path is its own, nothing on the link */
        { { { 0, 0 }, { 1, 1 } }, { 1000, 1000 } },
        /* one side abroad: 2 ns a byte, one behind the other */
        { { { 0, 1 }, { 1, 1 } }, { 2000, 1000 } },
        { { { 0, 1 }, { 1, 0 } }, { 2000, 4000 } },
        { { { 1, 0 }, { 0, 1 } }, { 2000, 4000 } },
        /* both sides abroad: to and fro */
        { { { 1, 1 }, { 1, 1 } }, { 4000, 1000 } },
        { { { 1, 1 }, { 0, 0 } }, { 4000, 8000 } },
    };
    PTDMADevice d[2];

    open_nodes(d, "bandwidth=1000000000,link-bandwidth=500000000");
    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        check_copies(d, cases[i].expected_ns, cases[i].nodes, 1000);
    }
    close_nodes(d);

    /* no link to wait for */
    open_nodes(d, "bandwidth=1000000000");
    check_copies(d, (const int64_t[]) { 1000, 1000 },
                 (const int[2][2]) { { 1, 1 }, { 0, 1 } }, 1000);
    close_nodes(d);
}

/* A turn on the link is given back by whoever is reset */
static void test_link_reset(void)
{
    PTDMADevice d[2];

    open_nodes(d, "link-bandwidth=1000000");
    ptdma_submit(&d[0], 0, NODE_SIZE, 64 * MiB);
    ptdma_step(d[0].qts, 1000);
    ptdma_function_level_reset(&d[0]);
    ptdma_submit(&d[1], 0, NODE_SIZE, 7);
    g_assert_cmpint(ptdma_wait(&d[1]), ==, 7000);
    close_nodes(d);
}

/* Whoever has the link has it at the other end, for the same time */
static void test_link_migration(void)
{
    static const char fabric[] = "link-bandwidth=1000000000";
    g_autofree char *dir = g_dir_make_tmp("amd-dma-XXXXXX", NULL);
    g_autofree char *uri = g_strdup_printf("unix:%s/migrate", dir);
    g_autofree char *incoming = g_strdup_printf("%s -incoming %s", fabric,
                                                uri);
    PTDMADevice from[2], to;

    open_nodes(from, fabric);
    ptdma_step(from[0].qts, 1000);
    ptdma_submit(&from[0], 0, NODE_SIZE, 5000);

    to = from[1];
    to.qs = nodes_machine(incoming);
    to.qts = to.qs->qts;
    to.pdev = g_memdup2(from[1].pdev, sizeof(*from[1].pdev));
    to.pdev->bus = to.qs->pcibus;
    migrate(from[0].qs, to.qs, uri);
    unlink(uri + strlen("unix:"));
    rmdir(dir);

    ptdma_submit(&to, 0, NODE_SIZE, 700);
    ptdma_wait(&to);
    g_assert_cmpint(ptdma_now(), ==, 1000 + 5000 + 700);
    g_free(to.pdev);
    qtest_shutdown(to.qs);
    close_nodes(from);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/amd-dma-timing/profiles", test_profiles);
    qtest_add_func("/amd-dma-timing/contradictions", test_contradictions);
    qtest_add_func("/amd-dma-timing/sockets", test_sockets);
    qtest_add_func("/amd-dma-timing/link-reset", test_link_reset);
    qtest_add_func("/amd-dma-timing/link-migration", test_link_migration);
    return g_test_run();
}
