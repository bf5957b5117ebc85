"""How a process of its own keeps memory: for training, commands and workers."""

import ctypes


def keep_memory() -> None:
    """Ask glibc to keep freed memory: large temporaries on CPU come twice as fast."""
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4
    mallopt(m_mmap_max, 0)
    mallopt(m_trim_threshold, 2**31 - 1)
    mallopt(m_top_pad, 2**29)
