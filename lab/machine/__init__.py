# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine under test: its command line, its process, and the session with its guest.

It exports nothing by itself: what only names a machine must not load what talks to one.
"""
