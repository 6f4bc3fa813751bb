"""The built-in classes: what only reads is allowed, what writes or touches the system is asked about."""
import re

from ananta.policy import cmdlets, dos, floor, paths, unix
from ananta.policy.unix import READ, SYSTEM, UNCLEAR, WRITE
from ananta.policy.words import UNKNOWN, Command, Redirect, Word, names

HARMLESS_TARGETS = re.compile(r"/dev/(?:null|stdout|stderr|tty|fd/\d+)|nul|\$null|\d+|-|\d+-", re.IGNORECASE)
SENSITIVE = re.compile(r"""(?ix)
    (?:^|[/\\])(?:
        etc[/\\](?:g?shadow-?|sudoers(?:\.d.*)?|ssl[/\\]private(?:[/\\].*)?|security[/\\]opasswd|ssh[/\\].*_key|krb5\.keytab|kubernetes[/\\].*\.conf)
      | master\.passwd | \.ssh[/\\](?!known_hosts|config$|authorized_keys|.*\.pub$)[^/\\]+ | \.gnupg(?:[/\\].*)? | \.aws[/\\]credentials | \.azure[/\\].+
      | \.config[/\\](?:gcloud|gh[/\\]hosts|rclone|op|hub)(?:[/\\].*|\.yml)? | \.netrc | _netrc | \.pgpass | \.my\.cnf | \.git-credentials | \.docker[/\\]config\.json | \.kube[/\\]config
      | \.npmrc | \.pypirc | \.cargo[/\\]credentials(?:\.toml)? | \.vault-token | \.terraform\.d[/\\]credentials.* | \.password-store(?:[/\\].*)?
      | \.env(?:\.(?!example|sample|template|dist)[\w.-]+)? | \.envrc | (?:var[/\\])?run[/\\]secrets(?:[/\\].*)? | credentials(?:\.json|\.ya?ml|\.db)? | secrets?\.(?:json|ya?ml|toml|env|txt)
      | proc[/\\][^/\\]+[/\\](?:environ|mem|fd[/\\].*) | dev[/\\](?:tcp[/\\].*|udp[/\\].*|mem|kmem|port|sd\w+|nvme\w+|vd\w+|kmsg) | config[/\\](?:sam|security|system)(?:\.\w+)? | ntds\.dit | login\ data | logins\.json | key4\.db
      | id_(?:rsa|dsa|ecdsa|ed25519)(?:_\w+)? | microsoft[/\\](?:credentials|protect)(?:[/\\].*)? | unattend\.xml | consolehost_history\.txt | wallet\.dat
    )$ | \.(?:p12|pfx|jks|keystore|kdbx|ppk|key|ovpn)$ | (?:^|[/\\_.-])(?:priv(?:ate)?|server|client|tls|ssl|key)[\w.-]*\.pem$""")
SENSITIVE_DIRS = (".ssh", ".gnupg", ".aws", ".azure", ".password-store")
SAMPLES = ("{home}/.ssh/id_rsa", "{home}/.ssh/id_ed25519", "/etc/shadow", "/etc/gshadow", "{home}/.aws/credentials", "{home}/.netrc", "{home}/.pgpass", "/proc/1/environ",
           "{home}/.git-credentials", "{home}/.docker/config.json", "{home}/.kube/config", "/root/.ssh/id_rsa", "/etc/sudoers", "{cwd}/.env", "/proc/self/environ", "{home}/.gnupg/secring.gpg")
# They show names and sizes, never what is inside.
LOOKERS = names("""ls stat du test [ find tree basename dirname realpath readlink echo printf cd pushd which type file dir df lsattr namei getfacl exa eza vdir locate
fd fdfind get-childitem get-item test-path resolve-path split-path join-path write-output write-host get-acl set-location push-location where title rem
if attrib icacls true false : export read select-object where-object sort-object format-table format-list get-command get-process get-service get-help
out-string convert-path date hostname ps pgrep systemctl git-lfs kubectl seq sleep expr tr""")
PIPE_READERS = names("get-content select-string import-csv import-clixml format-hex get-filehash")  # they open the files that a pipe names
PATTERN_FIRST = names("grep egrep fgrep zgrep rg ag ack sed awk gawk jq yq findstr find select-string")


def classify(command: Command, functions: set[str], around: floor.Surroundings) -> tuple[str, str]:
    """Returns the class of a simple command and, unless it is read, what it does, as the end of a sentence."""
    first = command.words[0]
    if not first.constant or (first.expanded and command.shell == "bash") or not first.text:
        return UNCLEAR, "has a name that is only known when it runs"
    if first.glob and command.shell != "powershell" and first.text not in ("[", "?"):
        return UNCLEAR, "has a name that is a pattern of file names"
    if first.text in functions and command.shell == "bash":
        return (UNCLEAR, "is a function that calls itself") if command.inside == first.text else (READ, "")
    if command.shell == "powershell":
        kind, why = cmdlets.classify(command, functions)
        name = cmdlets.canonical(first.text)
    elif command.shell == "cmd":
        kind, why = dos.classify(command)
        name = dos.program(first.text)
    else:
        kind, why = unix.classify(command)
        name = unix.program_name(first.text)
        if kind == READ and any(re.search(r"\w\[[^\]]*[$`]", w.text) for w in command.words[1:]) and name in ("test", "[", "printf", "read", "unset", "declare", "local", "export", "wait"):
            return UNCLEAR, "may run a command when a subscript is evaluated"
    if kind != READ:
        if own_reader(name, command, around):
            return READ, ""
        return kind, why
    shown = "get-content" if name in ("type", "find") and command.shell != "bash" else name  # there they print what is inside
    if shown not in LOOKERS:
        if floor.holds_secrets(name, command.words[1:], around):
            return UNCLEAR, "would also read this program's secrets"
        unknown = any(UNKNOWN in word.text + word.guess for word in command.words[1:]) or (command.piped_in and name in PIPE_READERS)
        if floor.finds_secrets(name, command.words[1:], around) or (around.listed and unknown):
            return UNCLEAR, "may read this program's secrets among what is found"
    secret = sensitive(shown, command.words[1:], around)
    return (UNCLEAR, f"reads `{secret}`, which may hold secrets") if secret else (READ, "")


def own_reader(name: str, command: Command, around: floor.Surroundings) -> bool:
    """Whether this program itself is asked for something it only prints."""
    args = [w.text for w in command.words[1:]]
    if name not in around.program and name not in {p.lower() for p in around.context.program}:
        return False
    operands = [a for a in args if not a.startswith("-")]
    return operands[:1] in (["version"], ["doctor"]) or operands[:2] in (["policy", "check"], ["policy", "test"], ["log", "tail"], ["log", "verify"], ["service", "status"]) or args in (["--version"], ["--help"])


def sensitive(name: str, args: list[Word], around: floor.Surroundings) -> str | None:
    """Returns the argument of a reader that may hold keys or passwords."""
    if name in LOOKERS and not any(w.text in ("-exec", "-execdir") for w in args):
        return None
    home, cwd = around.context.home.rstrip("/\\"), around.context.cwd.rstrip("/\\")
    skipped = False
    for word in args:
        text = word.guess
        if not skipped and name in PATTERN_FIRST and not text.startswith("-"):
            skipped = True
            continue
        if not text or text == UNKNOWN or len(text) > 1000 or "\n" in text:
            continue
        for candidate in {text, text.partition("=")[2]} - {""}:
            for place in (candidate, *around.places(candidate)):
                if SENSITIVE.search(place) or place.replace("\\", "/").rsplit("/", 1)[-1] in SENSITIVE_DIRS:
                    return text.replace(UNKNOWN, "…")
            # A pattern is compared where it leads, not as if it began at the root.
            samples = [sample.format(home=home, cwd=cwd) for sample in SAMPLES] if word.glob else []
            if any(paths.may_match(place, sample, hidden=around.windows or around.tilde or around.dotglob)
                   for place in around.places(candidate) for sample in samples):
                return text.replace(UNKNOWN, "…")
    return None


def redirect(item: Redirect, around: floor.Surroundings, shell: str) -> tuple[str, str] | None:
    """Returns the class of a redirection that does more than pass output on, or None."""
    target = item.target
    text = target.text
    if item.op in ("<<", "<<-", "<<<"):
        return None
    if text.startswith(("/dev/tcp/", "/dev/udp/")):
        return SYSTEM, "opens a network connection"
    if item.op in ("<", "<&"):
        if not target.constant and target.wild:
            return UNCLEAR, "reads a file that is only known when it runs"
        found = sensitive("cat", [target], around)
        return (UNCLEAR, f"reads `{found}`, which may hold secrets") if found else None
    if shell == "powershell" and text == "" and target.constant:
        return None  # $null
    if target.constant and HARMLESS_TARGETS.fullmatch(text) and (shell == "bash" or not text.isdigit() or item.op == ">&"):
        if text.lower() == "nul" and shell == "bash":
            return WRITE, "writes the file `nul`"
        if text.isdigit() and item.op not in (">&",):
            return WRITE, f"writes the file `{text}`"
        return None
    return WRITE, f"writes the file `{text.replace(UNKNOWN, '…')}`"


__all__ = ["READ", "SYSTEM", "UNCLEAR", "WRITE", "classify", "redirect", "sensitive"]
