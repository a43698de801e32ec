/*
 * AMD DMA engines: fault injection in a QEMU without such engines
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-amd-dma.h"

AmdDmaFaultId *qmp_amd_dma_inject_fault(AmdDmaFaultOptions *options,
                                        Error **errp)
{
    error_setg(errp, "AMD DMA engines are not compiled in");
    return NULL;
}

AmdDmaFaultInfoList *qmp_query_amd_dma_faults(const char *device, Error **errp)
{
    error_setg(errp, "AMD DMA engines are not compiled in");
    return NULL;
}

void qmp_amd_dma_clear_faults(const char *device, bool has_id, uint32_t id,
                              Error **errp)
{
    error_setg(errp, "AMD DMA engines are not compiled in");
}
