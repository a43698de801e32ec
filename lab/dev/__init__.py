# SPDX-License-Identifier: GPL-2.0-or-later
"""Tools for the lab's maintainers; nothing of the lab imports them."""
