# SPDX-License-Identifier: GPL-2.0-or-later
"""The device models' own tests: qtests, fuzzing, and what of the models they reach."""
