/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Signals as words of the host's: each waits until it is asked for. */
#ifndef LAB_HELD_SIGNALS_H
#define LAB_HELD_SIGNALS_H

/* Has a signal wait for signal_await() instead of ending the program. */
void signal_hold(int number);

/* Sleeps until one of those that are held is there. Returns its number. */
int signal_await(void);

#endif
