// The words of the console in English. de.js has the same keys.

export default {
  "view.ask": "Ask", "view.inbox": "Inbox", "view.board": "Board", "view.task": "Task", "view.log": "Log", "view.status": "Status",
  "role.hub": "hub", "role.worker": "worker",
  "menu": "Views", "skip": "Skip to the content", "settings": "More", "theme": "Colours", "theme.auto": "Auto", "theme.light": "Light", "theme.dark": "Dark",
  "language": "Language", "signout": "Sign out", "close": "Close", "cancel": "Cancel", "copy": "Copy", "more": "Show more", "again": "Try again", "save": "Save",
  "help": "Keys", "help.field": "To the field", "help.move": "Next, previous in the inbox", "help.send": "Send what is written",
  "connection.lost": "The connection is lost. Trying again; nothing that you typed is gone.", "connection.back": "Connected again.",
  "unit.seconds": "{n} s",

  "signin.title": "Sign in", "signin.go": "Sign in", "signin.name": "User name", "signin.password": "Password", "signin.second": "Code of the second factor",
  "signin.second.hint": "Six digits of your app, or one of your backup codes.", "signin.ended": "Your sign-in has ended. Sign in again; what you typed is still there.",
  "signin.worker": "Open the address that the start of Ananta printed. For a new one, run this on its machine:",
  "signin.bytoken": "Sign in with the agent token", "signin.token": "Agent token",

  "error.offline": "No answer from Ananta: is it running, and is the network there? Try again in a moment.", "error.http": "The answer was an error ({n}). Try again, or look at the log of Ananta.",
  "error.csrf_token_missing": "This tab is not signed in any more. Sign in again.",
  "error.proposal_used": "This has been run already.", "error.proposal_refused": "Somebody has refused this meanwhile.", "error.proposal_expired": "This has waited for too long. Ask again.",

  "ask.field": "What should be done?", "ask.placeholder": "What should be done?", "ask.send": "Ask", "ask.new": "New conversation", "ask.thinking": "The model is thinking … {time}",
  "ask.welcome": "What should be done?", "ask.how": "Write it in a sentence. A command is proposed; nothing runs before you have seen it.",
  "ask.example1": "Show the five largest files here", "ask.example2": "How much disk space is free?", "ask.example3": "Which processes use the most memory?",
  "ask.nothing": "The model had nothing to propose.", "ask.interrupted": "There was no answer.",

  "proposal": "Proposed command", "command": "Command", "proposal.noreason": "The model gave no reason.", "proposal.in": "In the folder", "proposal.took": "proposed in {time}",
  "verdict.allow": "only looks", "verdict.ask": "your decision", "verdict.deny": "denied", "touch.nothing": "It only looks and changes nothing.", "touch.rest": "One other part only looks. | The other {n} parts only look.",
  "run": "Run", "edit": "Edit", "no": "No, because …", "stop": "Stop", "edit.label": "The command as it should be", "edit.save": "Use this",
  "no.label": "Why not? The model proposes something else then.", "no.example": "For example: only look, delete nothing", "no.send": "Refuse",
  "no.done": "Refused.", "no.done.because": "Refused: {reason}",
  "run.now": "It runs now", "run.for": "Running for {time}", "run.good": "done", "run.bad": "exit code {n}", "run.stopped": "stopped", "run.unknown": "unknown how it ended", "run.denied": "denied", "run.by": "decided by {name}",
  "output": "Output", "output.none": "It printed nothing.", "output.more": "Show more ({n} characters left)", "output.end": "To the end",

  "inbox.waiting": "waiting", "inbox.count": "One waits for a decision | {n} wait for a decision", "inbox.many": "More than {n} wait for a decision; these are the oldest",
  "inbox.empty": "Nothing waits", "inbox.how": "What needs a decision appears here by itself.",

  "log.filter": "Search in the log", "log.empty": "Nothing has run yet", "log.nothing": "Nothing fits", "log.count": "{n} entries", "log.good": "done", "log.denied": "no", "log.where": "on {agent}",

  "status.commands": "Commands running", "status.cpu": "Processor", "status.memory": "Memory", "status.tasks": "Tasks", "status.tasks.how": "{done} done, {failed} failed", "status.agents": "Agents online",
  "status.chart": "{title}: the last {n} minutes", "status.later": "A curve appears within two minutes.", "status.checks": "Is everything in order?", "status.again": "Check again", "status.looking": "Looking …",
  "status.good": "Everything is in order", "status.bad": "One thing to do | {n} things to do", "status.ok": "ok", "status.do": "to do",
  "check.settings": "Settings", "check.program": "Program", "check.data": "Data folder", "check.configuration": "Configuration", "check.database": "Database", "check.disk": "Disk", "check.temporary": "Temporary folder",
  "check.token": "Token", "check.secrets": "Secrets", "check.port": "Port", "check.shell": "Shell", "check.containment": "Containment", "check.record": "Log", "check.clock": "Clock", "check.hub": "Hub",
  "check.proxies": "Proxies", "check.container": "Container", "check.model": "Model", "check.llm": "Model",

  "board.new": "New task", "board.title": "What is to be done?", "board.filter": "Search", "board.team": "All teams", "board.agent": "All agents", "board.tag": "All tags", "board.loading": "Loading … {n}",
  "board.backlog": "Backlog", "board.to-do": "To-do", "board.in-progress": "In progress", "board.done": "Done", "board.moved": "{title}: now in {column}",
  "board.keys": "Press Space to pick it up, the arrow keys to move it, Enter to open it.", "board.held": "Picked up. Arrow keys left and right move it, Space puts it down.", "board.others": "{n} more tasks have another status.",
  "task.back": "Board", "task.description": "Description", "task.none": "No description yet.", "task.status": "Status", "task.priority": "Priority", "task.agent": "Agent", "task.agent.none": "this hub itself",
  "task.template": "Template", "task.template.none": "none", "task.tags": "Tags", "task.steps": "Steps", "task.steps.none": "Nothing has run for this task yet.", "task.propose": "Propose the next step",
  "task.prompt": "What next? Empty: as the task says", "task.subtasks": "Subtasks", "task.parent": "Part of", "task.created": "Created", "task.updated": "Changed", "task.log": "Its log", "task.saved": "Saved.", "task.title": "Title", "task.by": "by {name}",

  "view.users": "Users", "view.audit": "Audit",
  "remove": "Remove",
  "users.you": "(you)", "users.mfa": "second factor", "users.user": "User", "users.admin": "Administrator", "users.role": "Role", "users.role.of": "Role of {name}", "users.changed": "{name} has another role, from now on.", "users.password": "New password", "users.password.new": "New password", "users.password.first": "First password", "users.password.how": "The user can change it after signing in.", "users.reset": "{name} has a new password and is signed out everywhere.", "users.remove.of": "Remove {name}", "users.remove.sure": "Remove {name}? What runs by this user's approval waits for somebody else then; the log and the audit keep the name.", "users.remove.yes": "Yes, remove", "users.removed": "{name} is removed.", "users.new": "New user", "users.name": "User name", "users.add": "Add", "users.added": "{name} can sign in now.",
  "audit.username": "Who", "audit.action": "What", "audit.text": "Text", "audit.since": "From", "audit.until": "To", "audit.nothing": "Nothing fits", "audit.count": "{n} entries", "audit.number": "Entry {n}", "audit.verify": "Verify the chain", "audit.export": "Export", "audit.verifying": "Looking through all of it …", "audit.good": "unaltered", "audit.bad": "altered", "audit.exporting": "{n} entries exported",
  "view.agents": "Agents", "view.templates": "Templates",
  "agents.count": "{n} of {all} online", "agents.none": "No agent has registered yet", "agents.none.how": "The command below starts one that does.", "agents.online": "online", "agents.offline": "offline", "agents.seen": "seen {when}", "agents.notoken": "without a token", "agents.last": "Last:", "agents.nothing": "Nothing has run there for this hub yet.", "agents.join": "Let a worker join", "agents.join.how": "Run this on the machine of the worker, beside its program; it makes a token, and registers by itself. If this hub has a REGISTRATION_TOKEN, set the same there.", "agents.way": "How", "agents.way.service": "as a service, Linux", "agents.way.terminal": "in a terminal", "agents.way.windows": "in a terminal, Windows", "agents.url": "Address at which this hub reaches it", "agents.copied": "Copied.", "agents.notcopied": "The browser does not let pages copy here: mark the line and copy it.",
  "templates.none": "No template yet", "templates.count": "{n} templates", "templates.new": "New template", "templates.name": "Name", "templates.text": "Text of the prompt", "templates.text.how": "Placeholders like {{task_title}} are filled in for each task.", "templates.provider": "Provider", "templates.model": "Model", "templates.defaults": "Values of further placeholders", "templates.defaults.how": "A JSON object, for example {\"language\": \"English\"}", "templates.json": "The values are not a JSON object.", "templates.saved": "The template is saved.", "templates.sure": "Remove {name}? Tasks, teams and roles that use it go on without a template.", "templates.draft": "Draft by the model", "templates.draft.how": "What should the template be for?", "templates.drafting": "The model writes …", "templates.order": "Write the text of a prompt template for an assistant that proposes shell commands. Use the placeholders {{task_title}} and {{task_description}}. Answer with the text only. The template is for:",
  "view.settings": "Settings", "view.policy": "Policy",
  "settings.how": "They count at once and survive a restart. What is fixed at the start stands in `ananta --help`.", "settings.set": "is set", "settings.notset": "not set", "settings.saved": "Saved.", "settings.reset": "Default", "settings.reset.how": "Back to the default", "settings.reset.of": "{name} back to the default",
  "policy.try": "Try a command", "policy.check": "Judge it", "policy.rules": "Rules", "policy.text": "policy.json", "policy.text.how": "The first rule whose words a command begins with counts. Examples in match and not_match must hold.", "policy.replay": "Try over what is on record", "policy.trying": "Working it out …", "policy.total": "{n} commands on record", "policy.asked": "asked about", "policy.denied": "denied", "policy.same": "Nothing would have been decided otherwise.", "policy.more": "and {n} more", "policy.saved": "Saved; {n} rules count from now on.", "policy.json": "This is not JSON: {why}", "policy.draft": "This is your draft; it is not saved yet.", "policy.discard": "Discard",
  "view.teams": "Teams",
  "teams.none": "No team yet", "teams.active": "active", "teams.activate": "Make it the active team", "teams.activated": "{name} is the active team now.", "teams.nobody": "Nobody is in it yet.", "teams.norole": "no role", "teams.type": "Kind of team", "teams.notype": "none", "teams.goal": "Goal", "teams.members": "Members", "teams.member": "Agent", "teams.add": "Add a member", "teams.new": "New team", "teams.scrum": "Scrum team", "teams.scrum.made": "A Scrum team with its first tasks is there.", "teams.saved": "{name} is saved.", "teams.sure": "Remove {name}?", "teams.removed": "{name} is removed.", "teams.types": "Kinds of team", "teams.roles": "one role | {n} roles", "teams.addrole": "Another role for {name}", "teams.choose": "a role …", "teams.template.of": "Template of {name}", "teams.newtype": "New kind of team", "teams.newrole": "New role",
};
