# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds of the three artifacts: QEMU with our devices, a kernel, the guest image."""
