<#
.SYNOPSIS
Lets containers and WSL reach LM Studio (1234) and Ollama (11434) of this Windows machine.

.DESCRIPTION
Both listen on 127.0.0.1, which in a container is the container. This forwards their ports from this machine's address in the network of
WSL or Docker (a vEthernet adapter) to 127.0.0.1, and lets only that network through the firewall. Other machines reach nothing: no
rule is for the public profile, and each is for one adapter, one address and its own network. Running it again changes nothing, or
follows the address, which WSL may change at every start of the machine.

.PARAMETER Undo
Takes back everything that this script has done, on any of its runs.

.PARAMETER Port
The ports to forward; without it those of LM Studio and Ollama.

.EXAMPLE
powershell -ExecutionPolicy Bypass -File build\setup_host_services.ps1 -WhatIf

.EXAMPLE
powershell -ExecutionPolicy Bypass -File build\setup_host_services.ps1 -Undo
#>
#Requires -Version 5.1
[CmdletBinding(SupportsShouldProcess = $true, ConfirmImpact = 'Low')]
param(
    [switch] $Undo,
    [ValidateRange(1, 65535)] [int[]] $Port = @(1234, 11434)
)

Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
$Group = 'Ananta host services'
$Adapters = @('vEthernet (WSL*', 'vEthernet (nat)', 'vEthernet (DockerNAT)', 'vEthernet (Default Switch)')

function Test-Administrator {
    $me = New-Object Security.Principal.WindowsPrincipal ([Security.Principal.WindowsIdentity]::GetCurrent())
    return $me.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)
}

# Each network that containers are in: the adapter, our address there, and the network as address/bits.
function Get-ContainerNetwork {
    foreach ($found in Get-NetIPAddress -AddressFamily IPv4 -ErrorAction SilentlyContinue) {
        $isOurs = $false
        foreach ($pattern in $Adapters) {
            if ($found.InterfaceAlias -like $pattern) { $isOurs = $true }
        }
        if ($isOurs -and $found.IPAddress -notlike '169.254.*') {
            New-Object PSObject -Property @{
                Alias = $found.InterfaceAlias; Address = $found.IPAddress; Network = Get-Network $found.IPAddress $found.PrefixLength
            }
        }
    }
}

function Get-Network([string] $Address, [int] $Bits) {
    $bytes = ([Net.IPAddress] $Address).GetAddressBytes()
    for ($index = 0; $index -lt 4; $index++) {
        $kept = [Math]::Min(8, [Math]::Max(0, $Bits - 8 * $index))
        $bytes[$index] = $bytes[$index] -band (256 - [Math]::Pow(2, 8 - $kept))
    }
    return "$(New-Object Net.IPAddress (, $bytes))/$Bits"
}

function Invoke-PortProxy([string[]] $Words) {
    $said = & netsh.exe interface portproxy @Words
    if ($LASTEXITCODE -ne 0) { throw "netsh interface portproxy $Words failed: $said" }
}

# What is forwarded now, as address:port.
function Get-Forwarded {
    foreach ($line in & netsh.exe interface portproxy show v4tov4) {
        if ($line -match '^\s*(\d+\.\d+\.\d+\.\d+)\s+(\d+)\s+127\.0\.0\.1\s+\d+\s*$') { "$($Matches[1]):$($Matches[2])" }
    }
}

# Our rules. What belongs to one is kept in its description: address, port, adapter, and whether its network was public before.
function Get-Rule {
    foreach ($rule in Get-NetFirewallRule -Group $Group -ErrorAction SilentlyContinue) {
        $parts = "$($rule.Description)".Split('|')
        if ($parts.Count -ge 4) {
            New-Object PSObject -Property @{
                Name = $rule.Name; Address = $parts[0]; Port = [int] $parts[1]; Alias = $parts[2]; WasPublic = ($parts[3] -eq 'public')
            }
        }
    }
}

function Remove-One($Rule) {
    $place = "$($Rule.Address):$($Rule.Port)"
    if ((Get-Forwarded) -contains $place -and $PSCmdlet.ShouldProcess("$place -> 127.0.0.1:$($Rule.Port)", 'stop forwarding')) {
        Invoke-PortProxy @('delete', 'v4tov4', "listenaddress=$($Rule.Address)", "listenport=$($Rule.Port)")
    }
    if ($PSCmdlet.ShouldProcess("$place on $($Rule.Alias)", 'remove the firewall rule')) {
        Remove-NetFirewallRule -Name $Rule.Name
    }
}

# Rules are for private networks only, and Windows takes a network without a router for a public one.
function Set-Private([string] $Alias) {
    $found = Get-NetConnectionProfile -InterfaceAlias $Alias -ErrorAction SilentlyContinue
    if ($null -eq $found) {
        Write-Warning "Windows has no category for the network of '$Alias'; if containers still cannot connect, it counts as public there."
        return $false
    }
    if ("$($found.NetworkCategory)" -ne 'Public') { return $false }
    if ($PSCmdlet.ShouldProcess("network of '$Alias', which is inside this machine", 'change its category from public to private')) {
        Set-NetConnectionProfile -InterfaceAlias $Alias -NetworkCategory Private
    }
    return $true
}

function Add-One($Network, [int] $Number, [bool] $WasPublic) {
    $place = "$($Network.Address):$Number"
    $listening = @(Get-NetTCPConnection -State Listen -LocalPort $Number -ErrorAction SilentlyContinue)
    $everywhere = @($listening | Where-Object { $_.LocalAddress -eq '0.0.0.0' -or $_.LocalAddress -eq '::' })
    if ($everywhere.Count -gt 0) {
        Write-Output "$Number  a program listens on all addresses already: nothing to forward"
    } elseif ((Get-Forwarded) -notcontains $place -and $PSCmdlet.ShouldProcess("$place -> 127.0.0.1:$Number", 'forward')) {
        Invoke-PortProxy @('add', 'v4tov4', "listenaddress=$($Network.Address)", "listenport=$Number", 'connectaddress=127.0.0.1', "connectport=$Number")
    }
    if ($PSCmdlet.ShouldProcess("$place on $($Network.Alias), from $($Network.Network)", 'allow in the firewall')) {
        $before = 'private'
        if ($WasPublic) { $before = 'public' }
        $rule = @{
            DisplayName = "Ananta: containers to port $Number"; Group = $Group; Direction = 'Inbound'; Action = 'Allow'; Protocol = 'TCP'
            LocalAddress = $Network.Address; LocalPort = $Number; RemoteAddress = $Network.Network; InterfaceAlias = $Network.Alias
            Profile = @('Domain', 'Private'); Description = "$($Network.Address)|$Number|$($Network.Alias)|$before"
        }
        $null = New-NetFirewallRule @rule
    }
    Write-Output "$Number  reachable from $($Network.Network) at $($Network.Address)"
}

if ($env:OS -ne 'Windows_NT') { throw 'This script is for Windows: on Linux start the container with --add-host=host.docker.internal:host-gateway.' }
if (-not (Test-Administrator) -and -not $WhatIfPreference) {
    throw 'Only an administrator may do this: open a terminal with "Run as administrator" and call it again. -WhatIf shows what it would do.'
}

$rules = @(Get-Rule)
if ($Undo) {
    foreach ($rule in $rules) { Remove-One $rule }
    foreach ($alias in @($rules | Where-Object { $_.WasPublic } | ForEach-Object { $_.Alias } | Select-Object -Unique)) {
        $exists = Get-NetConnectionProfile -InterfaceAlias $alias -ErrorAction SilentlyContinue
        if ($null -ne $exists -and $PSCmdlet.ShouldProcess("network of '$alias'", 'change its category back to public')) {
            Set-NetConnectionProfile -InterfaceAlias $alias -NetworkCategory Public
        }
    }
    Write-Output "Taken back: $($rules.Count) rules."
    return
}

$networks = @(Get-ContainerNetwork)
if ($networks.Count -eq 0) {
    throw 'There is no network of WSL or Docker on this machine: start WSL (wsl -l -v) or Docker Desktop, and call this again.'
}
$helper = Get-Service -Name iphlpsvc
if ($helper.Status -ne 'Running' -and $PSCmdlet.ShouldProcess('service IP Helper, which forwards', 'start')) {
    Set-Service -Name iphlpsvc -StartupType Automatic
    Start-Service -Name iphlpsvc
}

# Rules of an address that is no longer ours, or of a port that is not asked for any more.
foreach ($rule in $rules) {
    $current = @($networks | Where-Object { $_.Address -eq $rule.Address -and $_.Alias -eq $rule.Alias })
    if ($current.Count -eq 0 -or $Port -notcontains $rule.Port) { Remove-One $rule }
}
foreach ($network in $networks) {
    $before = @($rules | Where-Object { $_.Alias -eq $network.Alias -and $_.WasPublic })
    $wasPublic = (Set-Private $network.Alias) -or $before.Count -gt 0
    foreach ($number in $Port) {
        $there = @($rules | Where-Object { $_.Address -eq $network.Address -and $_.Port -eq $number -and $_.Alias -eq $network.Alias })
        if ($there.Count -gt 0 -and (Get-Forwarded) -contains "$($network.Address):$number") {
            Write-Output "$number  reachable from $($network.Network) at $($network.Address), as before"
            continue
        }
        foreach ($rule in $there) { Remove-One $rule }
        Add-One $network $number $wasPublic
    }
}
Write-Output 'In a container: LMSTUDIO_URL=http://host.docker.internal:1234/v1 or OLLAMA_URL=http://host.docker.internal:11434'
