"""What programs do, as tables: which only read, and which of their options turn a reader into a writer.

READERS take any arguments. OPTIONS lists the options that ask, with their reason, and the short options that take a
value (so that `-k2o` is not mistaken for `-k -2 -o`). SUBCOMMANDS lists the subcommands that only read; "a:b,c" means
`a b` and `a c`, and a bare "a:" allows `a` alone.
"""

from ananta.policy.words import names

READERS = names("""
clear bc ls cat tac head tail wc grep egrep fgrep zgrep zcat bzcat xzcat zstdcat lz4cat bzgrep xzgrep nl od hexdump hd cut paste tr rev fold fmt
expand unexpand column comm cmp join tsort stat du df lsblk lscpu lsusb lspci lsmem lsns lsof lsmod lslogins lsipc
findmnt blkid free vmstat iostat mpstat pidstat sar nproc arch uname uptime who w whoami id groups users last lastb lastlog logname
tty pwd cd pushd popd dirs echo printf true false : test [ sleep basename dirname realpath readlink pathchk seq expr
factor cksum md5sum sha1sum sha224sum sha256sum sha384sum sha512sum b2sum sum md5 shasum strings size readelf
which whereis type hash jobs times ulimit umask wait shift return break continue exit logout getopts read mapfile readarray
ps pstree pgrep pidof pwdx pmap free getent getconf locale localedef infocmp tput cal ncal numfmt nslookup dig host whois
ping ping6 traceroute tracepath mtr arp netstat ss iwgetid
apropos whatis compgen complete zdiff diffstat sdiff3 zipinfo unrar-list
lsattr getfacl getcap namei mountpoint isoinfo lsb_release hostid printenv locate mlocate plocate look ptx shuf
groupmems-list faillog-list getfattr vdir dir pr exa eza lsd tokei cloc scc wc
sensors acpi upower nvidia-smi rocm-smi inxi lshw dmidecode hwinfo biosdecode numastat ipcs prtstat
yes fc-list xdpyinfo c++filt addr2line
 systemd-detect-virt systemd-cgls systemd-path dpkg-query rpmquery apt-cache aptitude-search pip-licenses
let unset caller bg fg help typeset declare local readonly export getopt dpkg-architecture
sw_vers mdls mdfind otool vm_stat pathchk errno uuidgen mcookie
""") - {"let"}

WRITES = "writes a file"
RUNS = "runs another command"
# name: (options that ask, short options with a value, the reason)
OPTIONS: dict[str, tuple[str, str, str]] = {
    "sort": ("-o --output --compress-program -T --temporary-directory", "ktST", WRITES),
    "tree": ("-o -R --output", "LPIHTo", WRITES),
    "diff": ("", "UCWxXIFLS", WRITES),
    "sdiff": ("-o --output --diff-program", "oWI", WRITES),
    "diff3": ("--diff-program -i", "L", RUNS),
    "colordiff": ("", "", RUNS),
    "rg": ("--pre --hostname-bin --search-zip -z", "ABCeEfgjmMrtT", RUNS),
    "ag": ("--pager", "ABCGm", RUNS),
    "ack": ("--pager --output", "ABCm", RUNS),
    "bat": ("--pager", "rlH", RUNS), "batcat": ("--pager", "rlH", RUNS),
    "fd": ("-x --exec -X --exec-batch", "edtESoCj", RUNS), "fdfind": ("-x --exec -X --exec-batch", "edtESoCj", RUNS),
    "jq": ("", "fL", WRITES),
    "yq": ("-i --inplace --in-place -s --split-exp --split-exp-file -w --output-dir", "", WRITES),
    "xq": ("-i --in-place", "", WRITES),
    "xmllint": ("-o --output --shell", "", WRITES),
    "file": ("-C --compile", "fmFeP", WRITES),
    "base64": ("-o --output", "wb", WRITES), "base32": ("", "w", WRITES),
    "nm": ("--plugin", "t", RUNS), "gzip": ("", "", WRITES), "xxd": ("-r -revert --revert", "csglno", WRITES),
    "uniq": ("", "fsw", WRITES),
    "top": ("", "dnpuUwEoe", WRITES), "htop": ("", "", RUNS),
    "journalctl": ("--vacuum-size --vacuum-time --vacuum-files --rotate --flush --sync --relinquish-var --smart-relinquish-var "
                   "--setup-keys --update-catalog --cursor-file", "ubSUnopt", "changes the journal"),
    "dmesg": ("-c -C --clear --read-clear -D -E -n --console-off --console-on --console-level", "lfsn", "changes the kernel log"),
    "objdump": ("", "", WRITES), "ldd": ("", "", RUNS),
    "watch": ("", "nd", RUNS),
    "man": ("-P --pager -H --html -l --local-file -X --gxditview -T --troff -M -C --preprocessor -p", "sSmM", RUNS),
    "info": ("-o --output --dribble --restore", "fn", WRITES),
    "less": ("-o -O --log-file --LOG-FILE -k --lesskey-file --lesskey-src", "bhjPptTxyz", WRITES),
    "more": ("", "n", ""), "zless": ("-o -O", "", WRITES), "zmore": ("", "", ""),
    "split": ("", "", WRITES),
    "nmap": ("", "", "scans a network"), "tcpdump": ("", "", "records network traffic"),
    "iconv": ("-o --output", "ft", WRITES),
    "lsof": ("-D", "", WRITES), "zip": ("", "", WRITES),
    "arp": ("-s -d -f --set --delete --file", "ai", "changes the ARP table"),
    "ss": ("-K --kill -D --diag", "fAF", "closes connections"),
    "hash": ("-r -p -d", "", "changes which program runs"),
    "umask": ("", "", ""), "complete": ("-C -F", "", RUNS), "compgen": ("-C -F", "AGWXPSo", RUNS), "ulimit": ("", "", ""),
    "wait": ("", "", ""), "unset": ("", "", ""),
    "read": ("", "adinNptu", ""), "mapfile": ("-C", "dnOstucC", RUNS), "readarray": ("-C", "dnOstucC", RUNS),
    "last": ("", "", ""), "blkid": ("-g --garbage-collect -c --cache-file -w", "ostLU", WRITES),
    "lshw": ("-dump", "", WRITES), "dmidecode": ("--dump-bin", "st", WRITES),
    "getfacl": ("", "", ""), "locale": ("", "", ""), "localedef": ("", "", WRITES),
    "shuf": ("-o --output", "ien", WRITES), "ptx": ("", "", ""),
    "csplit": ("", "", WRITES), "pr": ("", "", ""), "cloc": ("--out --report-file --extract-with --diff-list-files --sum-reports "
                                                            "--write-lang-def --write-lang-def-incl-dup --sql", "", WRITES),
    "tokei": ("", "", ""), "scc": ("-o --output", "fis", WRITES), "dig": ("", "", ""), "nvidia-smi": ("-pm -pl -r -c -e -f -lgc -rgc -ac "
        "--persistence-mode --gpu-reset --power-limit --filename --compute-mode --ecc-config", "", "changes the graphics card"),
    "slabtop": ("", "", ""), "ldconfig": ("", "", "changes the library cache"), "hexdump": ("", "", ""),
    "uuidgen": ("", "", ""), "apt-cache": ("-o -c --option --config-file gencaches", "", WRITES),
    "getconf": ("", "", ""), "pgrep": ("", "", ""), "whois": ("", "", ""), "tput": ("", "", ""),
    "iostat": ("", "", ""), "sar": ("-o", "", WRITES), "ipcs": ("", "", ""), "inxi": ("-U --update", "", "changes a program"),
    "shellcheck": ("", "", ""),  "eza": ("", "", ""), "mdfind": ("", "", ""),
    "delta": ("--pager", "", RUNS), "hyperfine": ("", "", RUNS), "time": ("-o --output", "", WRITES),
}
SUBCOMMANDS: dict[str, str] = {
    "systemctl": "status show list-units list-unit-files list-timers list-sockets list-dependencies list-jobs list-machines cat "
                 "is-active is-enabled is-failed is-system-running get-default show-environment help --failed --all -a --type --state",
    "loginctl": "list-sessions list-users list-seats session-status user-status show-session show-user show-seat",
    "hostnamectl": "status :", "timedatectl": "status show list-timezones timesync-status show-timesync :", "localectl": "status list-locales list-keymaps :",
    "resolvectl": "status query statistics dns domain service :", "networkctl": "list status lldp :", "machinectl": "list status show list-images",
    "coredumpctl": "list info :", "busctl": "list tree introspect status :",
    "systemd-analyze": "time blame critical-chain verify dump cat-config calendar timestamp timespan security unit-paths :",
    "service": "--status-all",
    "docker": "ps images inspect logs version info top stats port history search events diff container:ls,list,ps,inspect,logs,top,stats,port,diff "
              "image:ls,list,inspect,history volume:ls,list,inspect network:ls,list,inspect system:df,info,events context:ls,list,show,inspect "
              "compose:ps,logs,config,ls,images,top,version,port,events node:ls,ps,inspect service:ls,ps,inspect,logs stack:ls,ps,services "
              "swarm: buildx:ls,inspect,du,version secret:ls,inspect config:ls,inspect plugin:ls,inspect manifest:inspect builder:",
    "docker-compose": "ps logs config ls images top version port events",
    "podman": "ps images inspect logs version info top stats port history search events diff container:ls,list,ps,inspect,logs,top,stats,port,diff "
              "image:ls,list,inspect,history,tree volume:ls,list,inspect network:ls,list,inspect pod:ps,ls,inspect,logs,top,stats system:df,info,",
    "kubectl": "get describe logs top version cluster-info explain api-resources api-versions events auth:can-i,whoami "
               "config:view,get-contexts,current-context,get-clusters,get-users rollout:status,history diff options",
    "helm": "list ls status history version search:repo,hub show:chart,values,readme,all get:manifest,values,notes,hooks,all env lint template repo:list",
    "minikube": "status ip version profile:list", "oc": "get describe logs status whoami version projects",
    "npm": "ls list la ll view info show outdated search help version: root prefix bin ping whoami explain why fund config:get,list,ls audit:",
    "yarn": "list info why outdated versions licenses:list config:get,list workspaces:info,list", "pnpm": "ls list ll why outdated audit: root",
    "pip": "list show freeze check help search debug inspect config:list,get,debug index:versions cache:dir,info,list",
    "pip3": "list show freeze check help search debug inspect config:list,get,debug index:versions cache:dir,info,list",
    "uv": "version pip:list,show,freeze,tree,check tree python:list,find,dir", "poetry": "show check version: about env:info,list",
    "pipx": "list environment", "conda": "list info search env:list", "gem": "list search info environment outdated which contents dependency",
    "bundle": "list show info outdated check", "cargo": "tree metadata search version locate-project pkgid read-manifest verify-project help",
    "go": "version env list doc help", "rustup": "show which toolchain:list target:list component:list check",
    "brew": "list ls info search outdated deps uses leaves config doctor desc services:list --prefix --version tap:",
    "apt": "list search show showpkg policy depends rdepends", "apt-mark": "showhold showmanual showauto showinstall",
    "apt-config": "dump", "dnf": "list info search repolist provides check-update history:list,info repoquery deplist",
    "yum": "list info search repolist provides check-update history:list,info deplist", "zypper": "search se info if list-updates lu packages pa repos lr",
    "apk": "info list search policy version stats", "snap": "list info find version changes connections services", "flatpak": "list info search remotes history",
    "nix": "search show-config", "port": "list installed search info", "winget": "list search show --version --info",
    "choco": "list search info outdated --version", "scoop": "list search info status",
    "gh": "pr:list,view,status,diff,checks issue:list,view,status repo:list,view run:list,view workflow:list,view release:list,view "
          "auth:status gist:list,view search:code,issues,prs,repos,commits label:list status",
    "glab": "mr:list,view,diff issue:list,view ci:list,view,status repo:list,view",
    "terraform": "version show validate providers graph output state:list,show workspace:list,show", "tofu": "version show validate providers graph output",
    "aws": "sts:get-caller-identity configure:list,list-profiles s3:ls", "gcloud": "info version config:list auth:list projects:list", "az": "version account:show,list group:list vm:list",
    "ip": "addr:show,list,ls,sh,s, address:show,list, a:show,s,list, link:show,list,ls,sh,s, l:show, route:show,list,get,ls,s, r:show,s,list,get, "
          "rule:show,list, neigh:show,list, neighbour:show, n:show, maddr:show, tunnel:show, netns:list, -s stats:show, vrf:show,",
    "nmcli": "device:status,show,, dev:status,show, d:status,show, connection:show, con:show, c:show, general:status,, g:status, radio:",
    "firewall-cmd": "--state --list-all --list-services --list-ports --get-default-zone --get-zones --get-active-zones --list-all-zones --version",
    "ufw": "status version show:raw,listening,added", "nft": "list:ruleset,tables,table,chain,set", "semanage": "",
    "launchctl": "list print version", "defaults": "read read-type domains find", "diskutil": "list info apfs:list,listSnapshots",
    "tmux": "ls list-sessions list-windows list-panes list-keys", "screen": "-ls -list", "crontab": "-l", "at": "-l", "atq": ":",
    "update-alternatives": "--display --list --query --get-selections", "alternatives": "--display --list", "dpkg": "",
    "ansible-inventory": "--list --graph", "vagrant": "status global-status version box:list", "virsh": "list dominfo domstate nodeinfo net-list pool-list version dumpxml vol-list",
    "lxc": "list info ls image:list network:list storage:list version", "pm2": "list ls status show describe", "supervisorctl": "status version pid avail",
    "rabbitmqctl": "status list_queues list_users cluster_status", "redis-cli": "--version", "etcdctl": "version", "consul": "members version", "vault": "status version",
    "zpool": "status list iostat history get", "zfs": "list get", "btrfs": "filesystem:show,df,usage subvolume:list,show device:stats,usage version",
    "pvs": ":", "vgs": ":", "lvs": ":", "mdadm": "--detail --examine --query -D -E -Q", "smartctl": "-a -i -H -A -x --all --info --health --scan",
    "iptables": "-L -S --list --list-rules -V --version", "ip6tables": "-L -S --list --list-rules", "auditctl": "-l -s", "getenforce": ":", "sestatus": ":", "aa-status": ":",
    "chage": "-l --list", "passwd": "-S --status", "ethtool": "-i -k -S", "iw": "dev list phy", "rfkill": "list", "swapon": "-s --show --summary", "hdparm": "-I -i",
    "fdisk": "-l --list", "parted": "-l --list", "sfdisk": "-l --list -d --dump", "gdisk": "-l", "sgdisk": "-p --print", "lvmdiskscan": ":", "hwclock": "-r --show :", "efibootmgr": ": -v",
    "modinfo": "*", "modprobe": "-n --dry-run --show-depends", "alsamixer": "", "amixer": "get scontrols", "pactl": "list info", "xset": "q",
    "svn": "status st info log diff list ls cat blame annotate", "hg": "status st log diff branches tags summary heads parents id identify cat annotate manifest root paths",
    "rpm": "", "readlink": "*", "openssl": "version ciphers", "gpg": "--list-keys -k --fingerprint --version --list-public-keys",
    "ssh-keygen": "-l", "keytool": "", "java": "", "mvn": "", "gradle": "", "php": "", "ruby": "", "node": "", "dotnet": "--info --list-sdks --list-runtimes --version list:package,reference",
}
# Options before the subcommand that take a value as a word of its own.
LEADING_VALUES: dict[str, frozenset[str]] = {
    "docker": frozenset({"-l", "--log-level"}), "kubectl": frozenset({"-n", "--namespace", "--context", "--cluster"}),
    "helm": frozenset({"-n", "--namespace", "--kube-context"}), "npm": frozenset({"--prefix", "--workspace", "-w"}),
    "docker-compose": frozenset({"-f", "--file", "-p", "--project-name"}), "gh": frozenset({"-R", "--repo"}),
    "systemctl": frozenset({"-t", "--type", "-n", "--lines", "-p", "--property", "-o", "--output", "--state"}),
    "ip": frozenset({"-f", "-family"}), "svn": frozenset(), "aws": frozenset({"--profile", "--region"}),
}
# Options anywhere that make a reading subcommand do more.
SUBCOMMAND_ASKS: dict[str, tuple[str, ...]] = {
    "docker": ("-H", "--host", "--config"), "kubectl": ("--kubeconfig", "-s", "--server", "--token", "--as", "--raw", "--editor"), "systemctl": ("--root", "-H", "--host", "--image"),
    "npm": ("--node-options", "--script-shell", "--globalconfig", "--userconfig"), "pip": ("--log", "--python", "--index-url", "-i"), "pip3": ("--log", "--python"),
    "go": ("-w", "-u", "-toolexec", "-exec", "-overlay", "-modfile", "-mod=mod"), "cargo": ("--config",), "helm": ("--post-renderer", "--output-dir", "--kubeconfig"),
    "ip": ("-b", "-batch", "-batch", "-force"), "journalctl": (), "gh": ("-w", "--web"), "glab": ("-w", "--web"), "diskutil": (), "svn": ("--diff-cmd", "--config-option", "--config-dir", "--editor-cmd"),
    "hg": ("--config", "-o", "--output"), "iptables": ("-Z", "--zero", "-F", "-X", "-A", "-D", "-I", "-P", "-N", "-R"),
    "sfdisk": ("--delete",), "parted": ("mklabel", "mkpart", "rm", "mktable", "resizepart"), "smartctl": ("-t", "-s", "-o", "-S", "--test", "--smart"),
    "crontab": ("-r", "-e", "-i"), "terraform": ("",), "conda": (), "dnf": ("--setopt", "-c", "--config"), "yum": ("--setopt", "-c", "--config"),
    "mdadm": ("--zero-superblock", "--fail", "--remove", "--stop", "-S", "-f", "-r"), "gpg": ("--export-secret-keys", "-o", "--output"), "ssh-keygen": ("-D", "-R", "-A"),
    "apt": ("-o", "-c", "--option", "--config-file"), "rpm": (), "nft": ("-f", "--file"), "zypper": (), "chage": ("-d", "-E", "-I", "-m", "-M", "-W"), "ethtool": (),
    "hdparm": ("--security-erase", "--security-erase-enhanced", "-w", "-y", "-Y", "-S", "--yes-i-know-what-i-am-doing"), "fdisk": ("-w", "--wipe"), "audit": ("--fix",),
    "gdisk": (), "sgdisk": ("-Z", "-z", "-o", "-d", "-n", "--zap-all", "--zap", "--clear", "--delete", "--new"), "swapon": ("-a", "--all"),
    "screen": ("-X", "-d", "-D", "-x"), "at": ("-f", "-r", "-d"), "mount": (), "hwclock": ("-w", "-s", "--systohc", "--hctosys", "--set"), "efibootmgr": ("-b", "-B", "-c", "-o", "-n"),
}
SHORT_VERSION = names("node nodejs npm yarn pnpm php nginx tsc ruby go rustc cargo gcc g++ java javac dotnet")  # -v prints a version
VERSION_FLAGS = frozenset({"--version", "-V", "--help", "-version", "version"})
# Programs that do more than read, but only print when asked for their version.
VERSIONED = names("""python python2 python3 node nodejs ruby perl php java javac gcc g++ cc c++ clang clang++ make cmake ninja meson go cargo
rustc npm npx yarn pnpm pip pip3 git docker kubectl helm terraform ansible vim vi nano emacs bash sh zsh dash fish ssh curl wget tar gzip zip unzip
awk gawk sed find openssl psql mysql sqlite3 mongo redis-server redis-cli nginx apache2 httpd systemctl dotnet mvn gradle ant tsc eslint jest
pytest ruff black mypy poetry uv conda brew ffmpeg convert pwsh powershell code tmux screen rsync make deno bun swift kotlin scala lua julia R
ghc stack elixir erl gpg ansible-playbook aws gcloud az gh hg svn qemu-img vagrant sudo systemd apt dpkg rpm snap flatpak pandoc latex pdflatex
postgres mysqld mongod java kubeadm minikube podman buildah skopeo tofu packer vault consul nomad jq yq watch strace gdb valgrind perf tcpdump nmap""")
SYSTEM = names("""sudo su doas pkexec runuser useradd userdel usermod groupadd groupdel groupmod adduser deluser addgroup passwd chpasswd chage visudo
shutdown reboot poweroff halt init telinit mount umount swapon swapoff fdisk parted mkfs modprobe insmod rmmod sysctl iptables ip6tables nft
ufw firewall-cmd systemctl service chkconfig update-rc.d crontab at batch apt apt-get aptitude dpkg yum dnf rpm zypper pacman apk snap flatpak
brew port chmod chown chgrp setfacl setcap chattr chcon setenforce semanage nc ncat netcat socat ssh scp sftp rsync telnet ftp tftp
kill pkill killall killall5 renice chroot unshare nsenter dd hostnamectl timedatectl hwclock docker podman kubectl helm python python2 python3
perl ruby node nodejs php lua Rscript osascript bash sh zsh dash ksh fish csh tcsh pwsh powershell npm npx yarn pnpm pip pip3 gem cargo go
make cmake gdb strace ltrace launchctl defaults diskutil mkswap losetup cryptsetup update-alternatives update-grub grub-install ldconfig""")
WRITERS: dict[str, str] = {
    "rm": "deletes files", "rmdir": "deletes directories", "unlink": "deletes a file", "shred": "overwrites files", "mv": "moves or renames files",
    "cp": "copies files", "install": "copies files", "ln": "creates links", "mkdir": "creates directories", "touch": "creates or changes files",
    "tee": "writes files", "truncate": "changes the size of files", "dd": "copies raw data", "split": "writes files", "csplit": "writes files",
    "patch": "changes files", "zip": "writes an archive", "unzip": "writes files", "gzip": "replaces files", "gunzip": "replaces files",
    "bzip2": "replaces files", "xz": "replaces files", "zstd": "writes files", "mkfifo": "creates a pipe", "mknod": "creates a device",
    "mktemp": "creates a file", "ed": "edits files", "ex": "edits files", "vi": "is an editor", "vim": "is an editor", "nvim": "is an editor",
    "nano": "is an editor", "emacs": "is an editor", "chmod": "changes permissions", "chown": "changes owners", "chgrp": "changes groups",
    "rename": "renames files", "rsync": "copies files", "scp": "copies files over the network", "kill": "ends processes",
    "pkill": "ends processes", "killall": "ends processes", "crontab": "changes scheduled jobs", "ssh": "runs something on another computer",
    "make": "runs the commands of a makefile", "python": "runs a program", "python3": "runs a program", "perl": "runs a program",
    "ruby": "runs a program", "node": "runs a program", "php": "runs a program", "nc": "opens network connections", "ncat": "opens network connections",
    "wget": "downloads files", "source": "runs a file", ".": "runs a file", "alias": "changes what a name runs", "trap": "runs a command later",
    "enable": "changes which commands exist", "set": "changes how the shell reads", "shopt": "changes how the shell reads", "bind": "runs commands on keys",
    "fc": "runs a command again", "jobs": "", "disown": "keeps processes running", "let": "evaluates an expression", "unalias": "changes what a name runs",
    "chroot": "runs a command elsewhere", "sponge": "writes a file", "ldd": "may run the program it looks at", "expect": "runs a program",
    "script": "writes a file and starts a shell", "at": "runs a command later", "batch": "runs a command later", "logger": "writes to the system log",
    "wall": "writes to all users", "write": "writes to another user", "mail": "sends a message", "sendmail": "sends a message", "sqlite3": "may change a database",
    "psql": "may change a database", "mysql": "may change a database", "mongo": "may change a database", "redis-cli": "may change a database",
    "shutdown": "stops the computer", "reboot": "restarts the computer", "poweroff": "stops the computer", "halt": "stops the computer",
    "history": "", "htop": "is interactive", "dos2unix": "changes files", "fallocate": "creates a file", "sync": "writes buffers to disk",
}
# Names (or their beginnings, with *) that must not be set: they change which program runs or what it does.
DANGEROUS_VARIABLES = ("LD_*", "DYLD_*", "PATH", "BASH_*", "ENV", "SHELLOPTS", "BASHOPTS", "IFS", "PS0", "PS1", "PS4", "PROMPT_COMMAND", "GIT_*", "*PAGER",
                       "*EDITOR", "VISUAL", "BROWSER", "LESS*", "MAN*OPT", "PYTHON*", "PERL*", "RUBY*", "NODE_*", "JAVA_*", "_JAVA_*", "JDK_*", "*_OPTIONS", "*_OPTS",
                       "RIPGREP_*", "SSH_*", "HOME", "*_PROXY", "GCONV_PATH", "NLSPATH", "LOCPATH", "TERMINFO*", "TERMCAP", "HOSTALIASES", "RES_OPTIONS", "LOCALDOMAIN",
                       "KUBE*", "DOCKER_*", "AWS_*", "PG*", "MYSQL_*", "CDPATH", "GLOBIGNORE", "FPATH", "ZDOTDIR", "XDG_*", "OPENSSL_*", "SSL_*", "CURL_*", "WGETRC", "INPUTRC",
                       "MAKEFLAGS", "CC", "CXX", "LDFLAGS", "CFLAGS", "NPM_*", "PIP_*", "CARGO_*", "RUST*", "GO*", "TMPDIR", "SHELL", "MALLOC_*", "GLIBC_*", "FC*", "EXINIT",
                       "VIMINIT", "HG*", "SVN_*", "BAT_*", "FZF_*", "TAR_*", "POSIXLY_CORRECT", "TMOUT", "HISTFILE", "", "COMSPEC", "PATHEXT", "PSMODULEPATH", "OLDPWD", "PWD")
