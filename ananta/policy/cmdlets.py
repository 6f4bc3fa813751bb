"""Which class a PowerShell command or method call belongs to."""
import re

from ananta.policy import unix
from ananta.policy.unix import READ, SYSTEM, UNCLEAR, WRITE
from ananta.policy.words import Call, Command, Word, names

ALIASES = dict(item.split("=") for item in ["ls=Get-ChildItem", "dir=Get-ChildItem", "gci=Get-ChildItem", "cat=Get-Content", "gc=Get-Content", "type=Get-Content", "gi=Get-Item", "gp=Get-ItemProperty", "gpv=Get-ItemPropertyValue", "select=Select-Object", "where=Where-Object", "?=Where-Object", "%=ForEach-Object", "foreach=ForEach-Object", "sort=Sort-Object", "group=Group-Object", "measure=Measure-Object", "ft=Format-Table", "fl=Format-List", "fw=Format-Wide", "fc=Format-Custom", "oh=Out-Host", "gm=Get-Member", "gps=Get-Process", "ps=Get-Process", "gsv=Get-Service", "gcm=Get-Command", "gal=Get-Alias", "gv=Get-Variable", "gdr=Get-PSDrive", "gl=Get-Location", "pwd=Get-Location", "gu=Get-Unique", "ghy=Get-History", "h=Get-History", "history=Get-History", "gjb=Get-Job", "gmo=Get-Module", "gsnp=Get-PSSnapin", "gwmi=Get-WmiObject", "gcim=Get-CimInstance", "gcb=Get-Clipboard", "gtz=Get-TimeZone", "gin=Get-ComputerInfo", "man=Get-Help", "help=Get-Help", "echo=Write-Output", "write=Write-Output", "cd=Set-Location", "chdir=Set-Location", "sl=Set-Location", "pushd=Push-Location", "popd=Pop-Location", "sls=Select-String", "compare=Compare-Object", "diff=Compare-Object", "tee=Tee-Object", "rvpa=Resolve-Path", "cvpa=Convert-Path", "cls=Clear-Host", "clear=Clear-Host", "sleep=Start-Sleep", "rm=Remove-Item", "del=Remove-Item", "erase=Remove-Item", "rd=Remove-Item", "ri=Remove-Item", "rmdir=Remove-Item", "cp=Copy-Item", "copy=Copy-Item", "cpi=Copy-Item", "mv=Move-Item", "move=Move-Item", "mi=Move-Item", "ren=Rename-Item", "rni=Rename-Item", "ni=New-Item", "md=mkdir", "sc=Set-Content", "ac=Add-Content", "clc=Clear-Content", "si=Set-Item", "sp=Set-ItemProperty", "rp=Remove-ItemProperty", "sv=Set-Variable", "set=Set-Variable", "nv=New-Variable", "rv=Remove-Variable", "sal=Set-Alias", "nal=New-Alias", "iex=Invoke-Expression", "icm=Invoke-Command", "iwr=Invoke-WebRequest", "irm=Invoke-RestMethod", "wget=Invoke-WebRequest", "curl=Invoke-WebRequest", "ii=Invoke-Item", "saps=Start-Process", "start=Start-Process", "spps=Stop-Process", "kill=Stop-Process", "sasv=Start-Service", "spsv=Stop-Service", "sajb=Start-Job", "spjb=Stop-Job", "rjb=Remove-Job", "rcjb=Receive-Job", "wjb=Wait-Job", "ipmo=Import-Module", "rmo=Remove-Module", "ipcsv=Import-Csv", "epcsv=Export-Csv", "ogv=Out-GridView", "lp=Out-Printer", "clhy=Clear-History", "ihy=Invoke-History", "r=Invoke-History", "iwmi=Invoke-WmiMethod", "icim=Invoke-CimMethod", "rcim=Remove-CimInstance", "rwmi=Remove-WmiObject", "asnp=Add-PSSnapin", "etsn=Enter-PSSession", "nsn=New-PSSession", "gsn=Get-PSSession", "shcm=Show-Command", "trcm=Trace-Command", "fhx=Format-Hex", "mount=New-PSDrive", "ndr=New-PSDrive", "rdr=Remove-PSDrive", "clv=Clear-Variable", "cli=Clear-Item", "clp=Clear-ItemProperty", "cpp=Copy-ItemProperty", "mp=Move-ItemProperty", "rnp=Rename-ItemProperty", "stz=Set-TimeZone", "scb=Set-Clipboard", "swmi=Set-WmiInstance", "epal=Export-Alias", "ipal=Import-Alias", "dbp=Disable-PSBreakpoint"])
READ_VERBS = names("get select sort group measure format compare test resolve find search convertfrom join split")
READ_CMDLETS = names("""where-object foreach-object out-string out-host out-null out-default write-output write-host write-verbose write-warning
write-error write-information write-debug write-progress convertto-json convertto-csv convertto-html convertto-xml convert-path start-sleep
set-location push-location pop-location clear-host import-csv import-clixml import-powershelldatafile get-unique set-strictmode
wait-process wait-job receive-job new-timespan new-guid set-variable new-variable remove-variable clear-variable
test-connection measure-command prompt more""")
ASK_READS = {"get-credential": "asks for a password",  "find-package": "asks a package source", "find-module": "asks a package source",
             "find-script": "asks a package source",   "get-windowsupdatelog": "writes a file",
             "get-packageprovider": "may install a provider", "get-secret": "reads a secret", "get-adserviceaccountpassword": "reads a secret"}
# Parameters that make a reading cmdlet do more.
ASK_PARAMETERS = {"get-help": ("online", "showwindow"), "measure-object": (), "get-wmiobject": ("computername", "credential"),
                  "get-ciminstance": ("computername", "cimsession"), "test-connection": ("asjob",), "get-winevent": ("computername", "credential"),
                  "get-eventlog": ("computername",), "get-hotfix": ("computername",), "set-variable": ("scope",), "new-variable": ("scope",)}
PURE_METHODS = names("""tostring toupper tolower toupperinvariant tolowerinvariant trim trimstart trimend split replace substring startswith endswith contains
indexof lastindexof padleft padright insert remove gettype equals compareto adddays addhours addminutes addseconds addmonths addyears
addmilliseconds subtract tolocaltime touniversaltime toshortdatestring tolongdatestring toshorttimestring tolongtimestring tofiletime
gethashcode tochararray length count getenumerator containskey containsvalue trygetvalue getlength getvalue toarray clone first last sum
matches match ismatch any where add addrange totalseconds getdirectories getfiles getfilesysteminfos isnullorempty normalize getattribute
selectnodes selectsinglenode getfilename addticks item keys values getnames reverse join concat distinct max min round
 getsubkeynames getvaluenames getvaluekind pop push peek enqueue dequeue sort indexofany get_item
tobyte toint32 tosingle todouble todecimal toboolean getbytes getstring tobase64string getproperty getmethods getproperties getfields""")
PURE_TYPES = names("""math system.math string system.string datetime system.datetime timespan system.timespan int system.int32 int32 long int64 system.int64
double system.double decimal bool system.boolean boolean char system.char byte system.byte float single guid system.guid convert system.convert regex
system.text.regularexpressions.regex bitconverter system.bitconverter array system.array version system.version uri system.uri
text.encoding system.text.encoding system.text.asciiencoding text.utf8encoding enum system.enum ipaddress net.ipaddress system.net.ipaddress
datetimeoffset system.datetimeoffset linq.enumerable system.linq.enumerable system.globalization.cultureinfo cultureinfo timezoneinfo system.timezoneinfo
collections.generic.list[string] system.numerics.biginteger bigint stringcomparison system.stringcomparison uint32 uint64 int16 uint16 sbyte
system.runtime.interopservices.runtimeinformation runtimeinformation hashset system.net.webutility net.webutility system.web.httputility""")
CASTS = PURE_TYPES | names("""xml hashtable ordered pscustomobject psobject psobject[] string[] int[] object object[] byte[] char[] double[] void switch
datetime[] mailaddress nullable[int] parameter validateset cmdletbinding array system.collections.arraylist collections.arraylist
system.collections.generic.list[string] system.collections.generic.list[object] collections.generic.list[object] hashtable[]
system.io.fileinfo io.fileinfo fileinfo system.management.automation.psobject system.collections.hashtable outputtype allownull""")
PURE_STATIC = {
    "path": "getfilename getextension getdirectoryname getfilenamewithoutextension combine join getfullpath getpathroot ispathrooted changeextension "
            "gettemppath getrandomfilename hasextension getinvalidfilenamechars getrelativepath",
    "file": "exists readalltext readalllines readlines getlastwritetime getcreationtime getattributes readallbytes getlastaccesstime",
    "directory": "exists getfiles getdirectories getfilesystementries enumeratefiles enumeratedirectories getcurrentdirectory getlastwritetime getparent getlogicaldrives",
    "environment": "getenvironmentvariable getenvironmentvariables getfolderpath getlogicaldrives getcommandlineargs",
    "dns": "gethostname", "process": "getprocesses getprocessesbyname getcurrentprocess getprocessbyid", "driveinfo": "getdrives",
    "windowsidentity": "getcurrent", "stopwatch": "startnew", "servicecontroller": "getservices", "networkinterface": "getallnetworkinterfaces",  "eventlog": "geteventlogs", "fileversioninfo": "getversioninfo", "encoding": "getencoding", "calendar": "",
}


def canonical(name: str) -> str:
    """Returns the cmdlet's name in lower case, aliases and module prefixes resolved."""
    lower = name.lower()
    lower = ALIASES.get(lower, lower).lower()
    module, _, bare = lower.rpartition("\\")
    return bare if module.startswith(("microsoft.powershell.", "microsoft.wsman", "cimcmdlets")) else lower


def classify(command: Command, functions: set[str]) -> tuple[str, str]:
    """Returns the class and, unless it is read, what the command does."""
    name = canonical(command.words[0].text)
    args = command.words[1:]
    if name in functions:
        return READ, ""
    if name in ASK_READS:
        return SYSTEM, ASK_READS[name]
    verb, dash, noun = name.partition("-")
    if name == "foreach-object":
        return _each(args)
    if name == "new-object":
        return (READ, "") if args and args[0].text.lower() in ("psobject", "pscustomobject", "system.object", "timespan", "datetime", "version") else (UNCLEAR, "creates a .NET object")
    if name == "measure-command" or name in READ_CMDLETS or (dash and noun and verb in READ_VERBS):
        return _parameters(name, args)
    if name == "tee-object":
        return (READ, "") if len(args) == 2 and args[0].text.lower() == "-variable" else (WRITE, "writes a file")
    if name.endswith(".exe"):
        name = name.removesuffix(".exe")
    elif dash and re.fullmatch(r"[a-z]+", verb):
        return (SYSTEM if verb in ("start", "stop", "restart", "invoke", "enable", "disable", "install", "uninstall", "register", "enter", "suspend") else WRITE), _verb(verb)
    return native(name, command)


def native(name: str, command: Command) -> tuple[str, str]:
    """Judges a program by the tables of its own platform."""
    from ananta.policy import dos  # both tables know each other's programs

    copy = Command([Word(name), *command.words[1:]], text=command.text, shell="bash")
    return dos.classify_program(copy) if name in dos.PROGRAMS else unix.classify(copy)


def judge_call(call: Call) -> tuple[str, str]:
    """Returns the class of a method call, a cast or the assignment of a property."""
    kind = (call.type or "").lower().replace(" ", "")
    if call.assigned:
        if kind == "env":
            return (SYSTEM, "changes which programs run") if unix.dangerous_variable(call.name.upper()) else (READ, "")
        return UNCLEAR, "changes something outside of this line"
    if not call.name:
        return (READ, "") if kind in CASTS or kind.removesuffix("[]") in CASTS else (UNCLEAR, "creates an object that may do more than hold a value")
    name = call.name.lower()
    if not kind:
        if name in ("foreach",) and not call.argument.lstrip().startswith("{"):
            return UNCLEAR, "calls a method that is not known to only read"
        return (READ, "") if name in PURE_METHODS or name == "foreach" else (UNCLEAR, "calls a method that is not known to only read")
    if kind in PURE_TYPES and not (name == "new" and kind not in ("guid", "datetime", "timespan", "version", "uri", "string")):
        return READ, ""
    short = kind.rpartition(".")[2]
    prefix = kind.rpartition(".")[0]
    standard = prefix in ("", "io", "system", "system.io", "system.net", "net", "system.diagnostics", "diagnostics", "system.text", "system.serviceprocess",
                          "security.principal", "system.security.principal", "system.net.networkinformation", "text")
    if standard and name in PURE_STATIC.get(short, "").split():
        return READ, ""
    return UNCLEAR, "calls a method that is not known to only read"


def _each(args: list[Word]) -> tuple[str, str]:
    """ForEach-Object calls a method by name when it gets a word instead of a block."""
    for position, word in enumerate(args):
        text = word.text.lower().rstrip(":")
        if word.block or text in ("-process", "-begin", "-end", "-parallel", ",", "-inputobject", "-throttlelimit") or text.isdigit():
            continue
        if text in ("-membername", "-m"):
            continue
        if not word.constant or (text not in PURE_METHODS and not _property(args[position].text)):
            return UNCLEAR, "may call a method that is not known to only read"
    return READ, ""


def _property(text: str) -> bool:
    return text.lower() in names("""name fullname length id cpu path basename extension directory directoryname line pattern filename status displayname
lastwritetime creationtime processname workingset version value key count caption description ipaddress message source properties title handle""")


def _parameters(name: str, args: list[Word]) -> tuple[str, str]:
    asks = ASK_PARAMETERS.get(name, ("computername", "session", "asjob") if name.startswith("get-") else ())
    for word in args:
        given = word.text.lower().lstrip("-").split(":")[0]
        if word.text.startswith("-") and given and any(ask == given or (len(given) > 3 and ask.startswith(given)) for ask in asks):
            return SYSTEM, f"`{word.text}` does more than look"
        if word.text.startswith("-") and name in ("get-content", "get-childitem", "get-item") and given == "stream":
            return UNCLEAR, "reads a hidden stream"
        if word.wild and name not in ("write-output", "write-host", "out-string", "where-object", "select-object", "sort-object", "measure-object", "format-table",
                                      "format-list", "test-path", "set-location", "convertto-json", "group-object", "out-host", "out-null", "write-verbose",
                                      "compare-object", "convertfrom-json", "join-path", "split-path", "set-variable", "get-member", "write-error", "write-warning"):
            return UNCLEAR, "depends on a variable this line does not set"
    if name in ("set-variable", "new-variable") and args and args[0].text.lower().startswith(("psdefault", "executioncontext")):
        return UNCLEAR, "changes how commands run"
    return READ, ""


def _verb(verb: str) -> str:
    return {"remove": "deletes something", "set": "changes something", "new": "creates something", "add": "adds something", "out": "writes a file or prints",
            "clear": "empties something", "copy": "copies something", "move": "moves something", "rename": "renames something", "start": "starts something",
            "stop": "stops something", "restart": "restarts something", "invoke": "runs something or asks another computer", "export": "writes a file",
            "install": "installs something", "uninstall": "removes something that is installed", "enable": "switches something on", "disable": "switches something off",
            "import": "loads something that may run", "update": "changes something", "expand": "unpacks files", "compress": "writes an archive",
            "send": "sends something", "register": "registers something that runs later", "enter": "works on another computer",
            "save": "writes a file"}.get(verb, "is not known to only read")
