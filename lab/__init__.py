# SPDX-License-Identifier: GPL-2.0-or-later
"""dcbm-lab: prove page-migration copy offload on emulated DMA engines."""

__version__ = "0.1.0"
