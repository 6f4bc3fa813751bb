"""The commands about an agent's state and its program: backup, restore, update, release."""
import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ananta.errors import InvalidInput


@dataclass(frozen=True)
class Call:
    """A call of a command. settings: loads them; say: prints a line."""

    options: argparse.Namespace
    environment: dict[str, str]
    settings: Callable
    say: Callable


def add(add: Callable, family: Callable, settings: Callable, say: Callable) -> None:
    """Adds the commands. add: makes one; family: a group of them; settings(options, environment) and say: of the command line."""
    def bound(handler: Callable[[Call], int]) -> Callable:
        def handle(options: argparse.Namespace, environment: dict[str, str]) -> int:
            return handler(Call(options, environment, lambda: settings(options, environment), say))

        return handle

    backup = add("backup", bound(_backup), "write a backup, also while the agent works", "ananta backup /backups/ananta.zip")
    backup.add_argument("file", metavar="FILE", help="the file to write, or a folder in which one is made")
    backup.add_argument("--with-secrets", action="store_true", help="with the secrets, encrypted with a passphrase (asked for, or in "
                        "ANANTA_BACKUP_PASSPHRASE or a file named by ANANTA_BACKUP_PASSPHRASE_FILE)")
    restore = add("restore", bound(_restore), "put the state of a backup in the place of the one that is here, which is kept",
                  "ananta restore /backups/ananta.zip")
    restore.add_argument("file", nargs="?", default=None, metavar="FILE", help="the backup")
    restore.add_argument("--without-secrets", action="store_true", help="leave the secrets that are here, also if the backup holds some")
    restore.add_argument("--forget-tokens", action="store_true", help="also where SECRET_KEY is another one: tokens it has sealed are lost")
    restore.add_argument("--force", action="store_true", help="also a log that was altered before it was backed up")
    restore.add_argument("--wait", type=int, default=60, metavar="SECONDS", help="how long a service may take to answer again (1 to 3600, "
                         "default 60), before everything is put back")
    restore.add_argument("--undo", action="store_true", help="put back what a restoring has moved that was cut off")
    update = add("update", bound(_update), "put a newer version in the place of this program; it must be signed (FILE.sig beside it)",
                 "ananta update ./ananta-0.2.0")
    update.add_argument("file", nargs="?", default=None, metavar="FILE", help="the new program; nothing is fetched from a network")
    update.add_argument("--from-hub", nargs="?", const="", default=None, metavar="URL", help="instead of FILE: the newest release for this machine "
                        "that a hub keeps (default HUB_URL), fetched with this agent's token; the signature decides, not the hub")
    update.add_argument("--check", "--dry-run", action="store_true", help="only say whether it is what it says, and whether it fits here; of a hub: "
                        "what would be taken")
    update.add_argument("--force", action="store_true", help="also a version that is not newer")
    update.add_argument("--no-backup", action="store_true", help="without a backup before; then data that the new version has changed cannot "
                        "come back")
    release = family("release", "the releases that this hub keeps for its workers (ananta update --from-hub)")
    adding = add("add", bound(_release_add), "keep a copy of a signed program (FILE.sig beside it)", "ananta release add ./ananta-0.2.0", to=release)
    adding.add_argument("file", metavar="FILE", help="the program, as whoever releases it has signed it")
    add("list", bound(_release_list), "show what is kept, newest version first", "ananta release list", to=release)
    removing = add("remove", bound(_release_remove), "keep a release no longer", "ananta release remove ananta-0.2.0-linux-x86_64", to=release)
    removing.add_argument("name", metavar="NAME", help="as `ananta release list` shows it")
    update.add_argument("--wait", type=int, default=60, metavar="SECONDS", help="how long the service may take to answer (1 to 3600, default "
                        "60), before the version of now comes back")


def _backup(call: Call) -> int:
    from ananta.operations import backup, passphrase

    options, say = call.options, call.say
    settings = call.settings()
    path = backup.target(settings, options.file)
    made = backup.make(settings, path, passphrase.ask(call.environment, twice=True) if options.with_secrets else None)
    if options.json:
        say(json.dumps({"file": str(path), "bytes": path.stat().st_size, "version": made.version, "schema": made.schema, "engine": made.engine,
                        "created_at": made.created_at, "with_secrets": options.with_secrets, "left_out": made.left_out,
                        "members": [vars(each) for each in made.members]}))
        return 0
    say(f"{path}: {_size(path.stat().st_size)}, {len(made.members)} files of {_size(made.bytes)}. "
        + ("The secrets are in it, sealed with the passphrase." if options.with_secrets else "The secrets are not in it."))
    return 0


def _restore(call: Call) -> int:
    from ananta.operations import passphrase, restore

    options, say = call.options, call.say
    if options.undo == (options.file is not None):
        raise InvalidInput("Name the backup to restore, or --undo without one.")
    _check_wait(options)
    settings = call.settings()
    if options.undo:
        done = restore.undo(settings)
        say(json.dumps({"undone": True}) if options.json else done)
        return 0
    report = restore.restore(
        settings, Path(options.file).expanduser(), passphrase=None if options.without_secrets else lambda: passphrase.ask(call.environment, twice=False),
        force=options.force, forget_tokens=options.forget_tokens, wait_s=options.wait, say=lambda text: say(text, error=True))
    if options.json:
        say(json.dumps({"restored": True, "created_at": report.manifest.created_at, "kept": report.kept, "notes": report.notes}))
        return 0
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(report.manifest.created_at))
    say(f"Restored the state of {when} (Ananta {report.manifest.version}).")
    for line in report.notes:
        say(line)
    if report.kept:
        say(f"The old state lies in {report.kept}: remove it when you do not need it any more.")
    return 0


def _update(call: Call) -> int:
    from ananta.operations import update

    options, say = call.options, call.say
    if (options.from_hub is None) == (options.file is None):
        raise InvalidInput("Name the new program, or --from-hub (and nothing else).")
    _check_wait(options)
    settings = call.settings()
    if options.from_hub is not None:
        return _update_from_hub(call, settings)
    file = Path(options.file).expanduser().absolute()
    if options.check:
        release = update.check(file, force=options.force)
        say(json.dumps(vars(release)) if options.json else f"{file} is version {release.version} for {release.platform}, signed by its maker.")
        return 0
    return _tell_updated(call, update.update(settings, file, **_how(call)))


def _update_from_hub(call: Call, settings) -> int:
    from ananta import __version__
    from ananta.operations import from_hub

    options, say = call.options, call.say
    offer = from_hub.find(settings, options.from_hub or None, force=options.force)
    if offer is None:
        say(json.dumps({"version": None, "running": __version__}) if options.json else
            f"Version {__version__} runs here, and the hub has no newer one for this machine: nothing to do.")
        return 0
    if options.check:
        release = offer.release
        say(json.dumps({"hub": offer.hub, "release": offer.name, **vars(release)}) if options.json else
            f"The hub {offer.hub} has {offer.name}: version {release.version} for {release.platform}, {_size(release.size)}, signed by its maker; "
            f"version {__version__} runs here. Without --check it would be taken.")
        return 0
    return _tell_updated(call, from_hub.update(settings, offer, **_how(call)))


def _how(call: Call) -> dict:
    options = call.options
    return {"force": options.force, "make_backup": not options.no_backup, "wait_s": options.wait, "environment": call.environment,
            "say": lambda text: call.say(text, error=True)}


def _tell_updated(call: Call, done) -> int:
    say = call.say
    if call.options.json:
        say(json.dumps(vars(done)))
        return 0
    say(f"Version {done.version} is in its place" + (", and the service runs it." if done.running else "; it counts from the next start on."))
    say(f"The version before is kept: {done.old}" + (f"; a backup of the data, too: {done.backup}" if done.backup else ""))
    return 0


def _release_add(call: Call) -> int:
    from ananta.operations import release_store

    kept = release_store.add(call.settings(), Path(call.options.file).expanduser().absolute())
    call.say(json.dumps(_about(kept)) if call.options.json else
             f"{kept.name} is kept: version {kept.release.version} for {kept.release.platform}, {_size(kept.release.size)}, signed by its maker.")
    return 0


def _release_list(call: Call) -> int:
    from ananta.operations import release_store

    found = release_store.listed(call.settings())
    if call.options.json:
        call.say(json.dumps([_about(each) for each in found]))
        return 0
    for each in found:
        call.say(f"{each.name}  {_size(each.release.size)}  {each.release.sha256}")
    if not found:
        call.say("No release is kept here: `ananta release add FILE` adds one.", error=True)
    return 0


def _release_remove(call: Call) -> int:
    from ananta.operations import release_store

    release_store.remove(call.settings(), call.options.name)
    call.say(json.dumps({"name": call.options.name, "removed": True}) if call.options.json else f"{call.options.name} is kept no longer.")
    return 0


def _about(kept) -> dict:
    release = kept.release
    return {"name": kept.name, "version": release.version, "platform": release.platform, "size": release.size, "sha256": release.sha256}


def _size(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB" if count >= 1 << 20 else f"{count / (1 << 10):.1f} KiB"


def _check_wait(options: argparse.Namespace) -> None:
    if not 1 <= options.wait <= 3600:
        raise InvalidInput(f"--wait {options.wait} is not possible: allowed is 1 to 3600.")
