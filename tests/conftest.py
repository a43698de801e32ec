# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab's own fixtures, as any project would load them."""

pytest_plugins = ["lab.pytest_plugin"]
