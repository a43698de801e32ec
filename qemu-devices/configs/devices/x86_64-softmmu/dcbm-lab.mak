# SPDX-License-Identifier: GPL-2.0-or-later
#
# Devices of the dcbm-lab machine; everything else stays out of the build.
# Use with: --without-default-devices --with-devices-x86_64=dcbm-lab
CONFIG_Q35=y
# A NUMA node of its own for each group of DMA functions.  The expander
# bridge calls into CXL, and CXL into its memory device.
CONFIG_PXB=y
CONFIG_PCIE_PORT=y
CONFIG_CXL=y
CONFIG_CXL_MEM_DEVICE=y
CONFIG_AMD_IOMMU=y
CONFIG_VTD=y
CONFIG_HPET=y
CONFIG_PVPANIC_PCI=y
CONFIG_ISA_DEBUG=y
CONFIG_AMD_AE4DMA=y
CONFIG_AMD_PTDMA=y
CONFIG_LAB_MAILBOX=y
