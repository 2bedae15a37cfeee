"""A folder that is the root of an arm64 Linux or Android system to the commands that are started in it.

The commands run in namespaces of their own (user, mount, process): no rights are needed and the machine is not touched.
There the folder is the root, with this machine's /usr in it for sh and the small programs, and binfmt_misc hands arm64
programs to qemu. So paths are those of a device, and text needs no rewriting. What is beside /usr, /proc and /dev are
plain files, which tests see, too.

`getprop`, `uname`, /sys and /proc/cpuinfo answer as a Pixel 8 does: nine cores of three kinds, and a battery.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# (number of cores, cpu_capacity, kHz at most, part as Arm counts)
CLUSTERS = ((4, 250, 1_704_000, 0xD46), (4, 700, 2_367_000, 0xD4D), (1, 1024, 2_914_000, 0xD4E))
FEATURES = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp asimdrdm jscvt fcma lrcpc dcpop asimddp"
PROPERTIES = {
    "ro.product.model": "Pixel 8", "ro.product.device": "shiba", "ro.product.manufacturer": "Google",
    "ro.product.cpu.abi": "arm64-v8a", "ro.product.cpu.abilist": "arm64-v8a", "ro.soc.model": "Tensor G3",
    "ro.soc.manufacturer": "Google", "ro.build.version.release": "15", "ro.build.version.sdk": "35",
}  # fmt: skip
# ELF, 64 bits, little-endian, a program (ET_EXEC or ET_DYN), EM_AARCH64; F: qemu is opened now, outside of the root
BINFMT = (
    r":edgesparse-arm64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
    r":\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:{qemu}:F"
)
ENTER = """
set -eu
mount --rbind /usr "$1/usr"
mount --rbind /dev "$1/dev"
mount -t proc proc "$1/proc"
mount --bind "$1/system/cpuinfo" "$1/proc/cpuinfo"
if [ -n "$2" ]; then
    mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
    printf %s "$2" >/proc/sys/fs/binfmt_misc/register
fi
exec chroot "$1" /bin/sh -c 'echo ready; read -r _'
"""


class ArmRoot:
    """The folder ``root``, made by this and there to be looked at; ``home`` is a path in it."""

    def __init__(self, root: Path, home: str) -> None:
        self.root, self.home = root, home
        for name in ("usr", "dev", "proc", "system/bin", "data/local/tmp", "tmp", home.lstrip("/")):
            (root / name).mkdir(parents=True, exist_ok=True)
        for name in ("bin", "lib", "lib64", "sbin"):
            if Path("/", name).exists():
                (root / name).symlink_to(f"usr/{name}")
        self.set_properties({})
        self._program(
            "uname",
            'case "$*" in -m) echo aarch64;; -sm) echo Linux aarch64;; -sr) echo Linux 6.1.99;; *) echo Linux;; esac',
        )
        parts = [part for count, _, _, part in CLUSTERS for _ in range(count)]
        self.set_cpuinfo(
            "".join(
                f"processor\t: {i}\nFeatures\t: {FEATURES}\nCPU implementer\t: 0x41\nCPU part\t: {part:#x}\n\n"
                for i, part in enumerate(parts)
            )
        )
        self._fake_sys()
        self._holder = self._start()

    @property
    def inside(self) -> Path:
        """``root`` with what was mounted in it."""
        return Path(f"/proc/{self._inner}/root")

    def limit_disk(self, folder: str, size_kb: int) -> None:
        """Put a disk of that size at ``folder``, which is in use by nothing."""
        self.popen(f"mount -t tmpfs -o mode=755,size={size_kb}k none {folder}").wait()

    def popen(self, command: str, **pipes: Any) -> subprocess.Popen[bytes]:
        """``command`` in the root's sh. Its exit code is 128 + N, or -N, where signal N ended it."""
        return subprocess.Popen(self.argv(command), env=self.environment, **pipes)

    def argv(self, command: str) -> list[str]:
        inside = ["--user", "--mount", "--pid", "--root", "--wd", "--preserve-credentials"]
        return ["nsenter", "--target", str(self._inner), *inside, "/bin/sh", "-c", command]

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": "/system/bin:/usr/bin:/bin", "HOME": self.home}

    def hang_up(self, started: subprocess.Popen[bytes]) -> None:
        """Send SIGHUP to the shell of a command, as adbd does when its client goes away."""
        with contextlib.suppress(OSError):
            for child in Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split():
                os.kill(int(child), signal.SIGHUP)

    def programs(self) -> list[int]:
        """The numbers, within it, of the programs of bundles that are running."""
        command = 'for p in /proc/[0-9]*; do echo "${p#/proc/} $(tr "\\0" " " <$p/cmdline)"; done 2>/dev/null'
        done = subprocess.run(self.argv(command), env=self.environment, stdout=subprocess.PIPE, check=True)
        lines = [line.split() for line in done.stdout.decode(errors="replace").splitlines()]
        return [int(words[0]) for words in lines if "--json" in words and not words[1].endswith("sh")]

    def files(self) -> set[str]:
        """Every file and folder that a device has storage for; some may be going away just now."""
        return {
            str(Path(folder, name).relative_to(self.root))
            for top in ("data", "tmp", self.home.lstrip("/"))
            for folder, folders, files in os.walk(self.root / top) for name in (*folders, *files)
        }  # fmt: skip

    def set_properties(self, changed: Mapping[str, str]) -> None:
        """What `getprop` answers."""
        cases = " ".join(f"{name}) echo '{value}';;" for name, value in {**PROPERTIES, **changed}.items())
        self._program("getprop", f'case "$1" in {cases} *) echo;; esac')

    def set_cpuinfo(self, text: str) -> None:
        """What /proc/cpuinfo holds."""
        (self.root / "system/cpuinfo").write_text(text)

    def close(self) -> None:
        """End everything that runs in it."""
        self._holder.kill()
        self._holder.communicate()

    def _start(self) -> subprocess.Popen[bytes]:
        qemu = "" if platform.machine() == "aarch64" else shutil.which("qemu-aarch64-static")
        unshare = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"]
        holder = subprocess.Popen(
            [*unshare, "sh", "-c", ENTER, "sh", str(self.root), BINFMT.format(qemu=qemu) if qemu else ""],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert holder.stdout is not None
        if holder.stdout.readline() != b"ready\n":
            raise RuntimeError(holder.communicate()[1].decode())
        children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()
        self._inner = int(children[0])
        return holder

    def _program(self, name: str, script: str) -> None:
        path = self.root / "system/bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def _fake_sys(self) -> None:
        cpus = self.root / "sys/devices/system/cpu"
        kinds = [kind for kind in CLUSTERS for _ in range(kind[0])]
        for number, (_, capacity, khz, _) in enumerate(kinds):
            folder = cpus / f"cpu{number}/cpufreq"
            folder.mkdir(parents=True)
            (folder.parent / "cpu_capacity").write_text(f"{capacity}\n")
            for name in ("cpuinfo_max_freq", "scaling_max_freq", "scaling_cur_freq"):
                (folder / name).write_text(f"{khz}\n")
        for name in ("present", "possible", "online"):
            (cpus / name).write_text(f"0-{len(kinds) - 1}\n")
        zone = self.root / "sys/class/thermal/thermal_zone0"
        zone.mkdir(parents=True)
        (zone / "type").write_text("BIG\n")
        (zone / "temp").write_text("31000\n")
        battery = self.root / "sys/class/power_supply/battery"
        battery.mkdir(parents=True)
        (battery / "type").write_text("Battery\n")
        (battery / "capacity").write_text("83\n")
