"""System calls a tile never makes once it runs, each group with its reason, and their numbers.

Numbers are those of asm/unistd_64.h (x86_64) and asm-generic/unistd.h (aarch64); None where an architecture has no
such call. From 424 on they are the same everywhere.
"""

from __future__ import annotations

from typing import Final

Numbers = tuple[int | None, int | None]
"""On x86_64, on aarch64."""

LAST: Final = 469  # file_setattr, Linux 6.17: what comes after it was not weighed, and is answered as not there

DENIED: Final[dict[str, dict[str, Numbers]]] = {
    "look into other processes or steer them": {
        "ptrace": (101, 117),
        "process_vm_readv": (310, 270),
        "process_vm_writev": (311, 271),
        "process_madvise": (440, 440),
        "process_mrelease": (448, 448),
        "kcmp": (312, 272),
        "pidfd_open": (434, 434),
        "pidfd_getfd": (438, 438),
        "pidfd_send_signal": (424, 424),
        "tkill": (200, 130),
        "move_pages": (279, 239),
        "migrate_pages": (256, 238),
        "perf_event_open": (298, 241),
    },
    "start another program or process": {
        "execve": (59, 221),
        "execveat": (322, 281),
        "fork": (57, None),
        "vfork": (58, None),
    },
    "change mounts, roots and namespaces": {
        "mount": (165, 40),
        "umount2": (166, 39),
        "mount_setattr": (442, 442),
        "move_mount": (429, 429),
        "open_tree": (428, 428),
        "open_tree_attr": (467, 467),
        "fsopen": (430, 430),
        "fsconfig": (431, 431),
        "fsmount": (432, 432),
        "fspick": (433, 433),
        "pivot_root": (155, 41),
        "chroot": (161, 51),
        "unshare": (272, 97),
        "setns": (308, 268),
    },
    "bring code into the kernel, stall it half-way, or reach its rarely trodden paths": {
        "bpf": (321, 280),
        "init_module": (175, 105),
        "finit_module": (313, 273),
        "delete_module": (176, 106),
        "kexec_load": (246, 104),
        "kexec_file_load": (320, 294),
        "userfaultfd": (323, 282),
        "io_uring_setup": (425, 425),
        "io_uring_enter": (426, 426),
        "io_uring_register": (427, 427),
        "personality": (135, 92),
        "modify_ldt": (154, None),
        "iopl": (172, None),
        "ioperm": (173, None),
    },
    "use keys of other processes": {
        "add_key": (248, 217),
        "request_key": (249, 218),
        "keyctl": (250, 219),
    },
    "open files past the path rules": {
        "open_by_handle_at": (304, 265),
        "name_to_handle_at": (303, 264),
        "fanotify_init": (300, 262),
    },
    "change whose files are, who may use them, and their dates, which Landlock does not bind": {
        "chmod": (90, None),
        "fchmod": (91, 52),
        "fchmodat": (268, 53),
        "fchmodat2": (452, 452),
        "chown": (92, None),
        "fchown": (93, 55),
        "lchown": (94, None),
        "fchownat": (260, 54),
        "setxattr": (188, 5),
        "lsetxattr": (189, 6),
        "fsetxattr": (190, 7),
        "setxattrat": (463, 463),
        "removexattr": (197, 14),
        "lremovexattr": (198, 15),
        "fremovexattr": (199, 16),
        "removexattrat": (466, 466),
        "utime": (132, None),
        "utimes": (235, None),
        "futimesat": (261, None),
        "utimensat": (280, 88),
    },
    "make writable memory or queues that are no partition and no link": {
        "memfd_create": (319, 279),
        "memfd_secret": (447, 447),
        "shmget": (29, 194),
        "shmat": (30, 196),
        "shmctl": (31, 195),
        "semget": (64, 190),
        "semctl": (66, 191),
        "semop": (65, 193),
        "semtimedop": (220, 192),
        "msgget": (68, 186),
        "msgctl": (71, 187),
        "msgsnd": (69, 189),
        "msgrcv": (70, 188),
        "mq_open": (240, 180),
        "mq_unlink": (241, 181),
        "mq_timedsend": (242, 182),
        "mq_timedreceive": (243, 183),
        "mq_notify": (244, 184),
        "mq_getsetattr": (245, 185),
    },
    "take processor time from others": {
        "setpriority": (141, 140),
        "ioprio_set": (251, 30),
        "sched_setparam": (142, 118),
        "sched_setscheduler": (144, 119),
        "sched_setattr": (314, 274),
        "sched_setaffinity": (203, 122),
    },
    "administer the machine": {
        "reboot": (169, 142),
        "acct": (163, 89),
        "swapon": (167, 224),
        "swapoff": (168, 225),
        "settimeofday": (164, 170),
        "clock_settime": (227, 112),
        "adjtimex": (159, 171),
        "clock_adjtime": (305, 266),
        "sethostname": (170, 161),
        "setdomainname": (171, 162),
        "syslog": (103, 116),
        "quotactl": (179, 60),
        "quotactl_fd": (443, 443),
        "vhangup": (153, 58),
    },
}

# Answered as not there, so that the C library makes its threads by clone, whose flags a filter can see.
CLONE3: Final = (435, 435)

# Allowed for some values of an argument only; seccomp.py says which.
CHECKED: Final[dict[str, tuple[int, int]]] = {
    "clone": (56, 220),
    "ioctl": (16, 29),
    "kill": (62, 129),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "prlimit64": (302, 261),
    "socket": (41, 198),
    "socketpair": (53, 199),
}

# The call that installs the filter.
SECCOMP: Final = (317, 277)
