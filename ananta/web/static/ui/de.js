// Die Wörter der Konsole auf Deutsch. en.js hat dieselben Schlüssel.

export default {
  "view.ask": "Fragen", "view.inbox": "Eingang", "view.board": "Tafel", "view.task": "Aufgabe", "view.log": "Protokoll", "view.status": "Zustand",
  "role.hub": "Hub", "role.worker": "Worker",
  "menu": "Ansichten", "skip": "Zum Inhalt springen", "settings": "Mehr", "theme": "Farben", "theme.auto": "Auto", "theme.light": "Hell", "theme.dark": "Dunkel",
  "language": "Sprache", "signout": "Abmelden", "close": "Schließen", "cancel": "Abbrechen", "copy": "Kopieren", "more": "Mehr zeigen", "again": "Noch einmal versuchen", "save": "Speichern",
  "help": "Tasten", "help.field": "Zum Eingabefeld", "help.move": "Nächster, voriger im Eingang", "help.send": "Geschriebenes abschicken",
  "connection.lost": "Die Verbindung ist unterbrochen. Es wird weiter versucht; nichts Getipptes geht verloren.", "connection.back": "Wieder verbunden.",
  "unit.seconds": "{n} s",

  "signin.title": "Anmelden", "signin.go": "Anmelden", "signin.name": "Benutzername", "signin.password": "Passwort", "signin.second": "Code des zweiten Faktors",
  "signin.second.hint": "Sechs Ziffern aus Ihrer App oder einer Ihrer Ersatzcodes.", "signin.ended": "Ihre Anmeldung ist beendet. Melden Sie sich neu an; Getipptes ist noch da.",
  "signin.worker": "Öffnen Sie die Adresse, die beim Start von Ananta ausgegeben wurde. Eine neue gibt es auf jener Maschine mit:",
  "signin.bytoken": "Mit dem Agent-Token anmelden", "signin.token": "Agent-Token",

  "error.offline": "Ananta antwortet nicht: Läuft es, und steht das Netz? Versuchen Sie es gleich noch einmal.", "error.http": "Die Antwort war ein Fehler ({n}). Versuchen Sie es noch einmal oder sehen Sie in das Log von Ananta.",
  "error.csrf_token_missing": "Dieser Tab ist nicht mehr angemeldet. Melden Sie sich neu an.",
  "error.proposal_used": "Das wurde schon ausgeführt.", "error.proposal_refused": "Das hat inzwischen jemand abgelehnt.", "error.proposal_expired": "Das hat zu lange gewartet. Fragen Sie noch einmal.",

  "ask.field": "Was soll getan werden?", "ask.placeholder": "Was soll getan werden?", "ask.send": "Fragen", "ask.new": "Neues Gespräch", "ask.thinking": "Das Modell denkt nach … {time}",
  "ask.welcome": "Was soll getan werden?", "ask.how": "Schreiben Sie es in einem Satz. Ein Befehl wird vorgeschlagen; nichts läuft, bevor Sie ihn gesehen haben.",
  "ask.example1": "Zeige die fünf größten Dateien hier", "ask.example2": "Wie viel Speicherplatz ist frei?", "ask.example3": "Welche Prozesse brauchen am meisten Speicher?",
  "ask.nothing": "Das Modell hatte nichts vorzuschlagen.", "ask.interrupted": "Es kam keine Antwort.",

  "proposal": "Vorgeschlagener Befehl", "command": "Befehl", "proposal.noreason": "Das Modell nannte keinen Grund.", "proposal.in": "Im Ordner", "proposal.took": "vorgeschlagen in {time}",
  "verdict.allow": "sieht nur nach", "verdict.ask": "Ihre Entscheidung", "verdict.deny": "verboten", "touch.nothing": "Sieht nur nach und ändert nichts.", "touch.rest": "Ein anderer Teil sieht nur nach. | Die anderen {n} Teile sehen nur nach.",
  "run": "Ausführen", "edit": "Ändern", "no": "Nein, weil …", "stop": "Anhalten", "edit.label": "Der Befehl, wie er sein soll", "edit.save": "Diesen nehmen",
  "no.label": "Warum nicht? Das Modell schlägt dann etwas anderes vor.", "no.example": "Zum Beispiel: nur nachsehen, nichts löschen", "no.send": "Ablehnen",
  "no.done": "Abgelehnt.", "no.done.because": "Abgelehnt: {reason}",
  "run.now": "Es läuft gerade", "run.for": "Läuft seit {time}", "run.good": "fertig", "run.bad": "Exit-Code {n}", "run.stopped": "angehalten", "run.unknown": "Ende unbekannt", "run.denied": "verboten", "run.by": "entschieden von {name}",
  "output": "Ausgabe", "output.none": "Es wurde nichts ausgegeben.", "output.more": "Mehr zeigen (noch {n} Zeichen)", "output.end": "Zum Ende",

  "inbox.waiting": "warten", "inbox.count": "Einer wartet auf eine Entscheidung | {n} warten auf eine Entscheidung", "inbox.many": "Mehr als {n} warten auf eine Entscheidung; dies sind die ältesten",
  "inbox.empty": "Nichts wartet", "inbox.how": "Was eine Entscheidung braucht, erscheint hier von selbst.",

  "log.filter": "Im Protokoll suchen", "log.empty": "Noch nichts ist gelaufen", "log.nothing": "Nichts passt", "log.count": "{n} Einträge", "log.good": "fertig", "log.denied": "nein", "log.where": "auf {agent}",

  "status.commands": "Laufende Befehle", "status.cpu": "Prozessor", "status.memory": "Speicher", "status.tasks": "Aufgaben", "status.tasks.how": "{done} fertig, {failed} fehlgeschlagen", "status.agents": "Agenten online",
  "status.chart": "{title}: die letzten {n} Minuten", "status.later": "Eine Kurve erscheint binnen zwei Minuten.", "status.checks": "Ist alles in Ordnung?", "status.again": "Neu prüfen", "status.looking": "Wird nachgesehen …",
  "status.good": "Alles ist in Ordnung", "status.bad": "Eines ist zu tun | {n} Dinge sind zu tun", "status.ok": "ok", "status.do": "zu tun",
  "check.settings": "Einstellungen", "check.program": "Programm", "check.data": "Datenordner", "check.configuration": "Konfiguration", "check.database": "Datenbank", "check.disk": "Platte", "check.temporary": "Temporärer Ordner",
  "check.token": "Token", "check.secrets": "Geheimnisse", "check.port": "Port", "check.shell": "Shell", "check.containment": "Eingrenzung", "check.record": "Protokoll", "check.clock": "Uhr", "check.hub": "Hub",
  "check.proxies": "Proxys", "check.container": "Container", "check.model": "Modell", "check.llm": "Modell",

  "board.new": "Neue Aufgabe", "board.title": "Was ist zu tun?", "board.filter": "Suchen", "board.team": "Alle Teams", "board.agent": "Alle Agenten", "board.tag": "Alle Schlagwörter", "board.loading": "Wird geladen … {n}",
  "board.backlog": "Vorrat", "board.to-do": "Zu tun", "board.in-progress": "In Arbeit", "board.done": "Erledigt", "board.moved": "{title}: jetzt in {column}",
  "board.keys": "Leertaste nimmt sie auf, Pfeiltasten verschieben sie, Eingabe öffnet sie.", "board.held": "Aufgenommen. Pfeil links und rechts verschieben sie, Leertaste legt sie ab.", "board.others": "{n} weitere Aufgaben haben einen anderen Status.",
  "task.back": "Tafel", "task.description": "Beschreibung", "task.none": "Noch keine Beschreibung.", "task.status": "Status", "task.priority": "Priorität", "task.agent": "Agent", "task.agent.none": "dieser Hub selbst",
  "task.template": "Vorlage", "task.template.none": "keine", "task.tags": "Schlagwörter", "task.steps": "Schritte", "task.steps.none": "Für diese Aufgabe ist noch nichts gelaufen.", "task.propose": "Nächsten Schritt vorschlagen",
  "task.prompt": "Was als Nächstes? Leer: wie es die Aufgabe sagt", "task.subtasks": "Unteraufgaben", "task.parent": "Teil von", "task.created": "Angelegt", "task.updated": "Geändert", "task.log": "Ihr Protokoll", "task.saved": "Gespeichert.", "task.title": "Titel", "task.by": "von {name}",

  "view.users": "Benutzer", "view.audit": "Audit",
  "remove": "Entfernen",
  "users.you": "(Sie)", "users.mfa": "zweiter Faktor", "users.user": "Benutzer", "users.admin": "Administrator", "users.role": "Rolle", "users.role.of": "Rolle von {name}", "users.changed": "{name} hat ab jetzt eine andere Rolle.", "users.password": "Neues Passwort", "users.password.new": "Neues Passwort", "users.password.first": "Erstes Passwort", "users.password.how": "Der Benutzer kann es nach dem Anmelden ändern.", "users.reset": "{name} hat ein neues Passwort und ist überall abgemeldet.", "users.remove.of": "{name} entfernen", "users.remove.sure": "{name} entfernen? Was mit der Zustimmung dieses Benutzers läuft, wartet dann auf jemand anderen; Log und Audit behalten den Namen.", "users.remove.yes": "Ja, entfernen", "users.removed": "{name} ist entfernt.", "users.new": "Neuer Benutzer", "users.name": "Benutzername", "users.add": "Anlegen", "users.added": "{name} kann sich jetzt anmelden.",
  "audit.username": "Wer", "audit.action": "Was", "audit.text": "Text", "audit.since": "Von", "audit.until": "Bis", "audit.nothing": "Nichts passt", "audit.count": "{n} Einträge", "audit.number": "Eintrag {n}", "audit.verify": "Kette prüfen", "audit.export": "Exportieren", "audit.verifying": "Alles wird durchgesehen …", "audit.good": "unverändert", "audit.bad": "verändert", "audit.exporting": "{n} Einträge exportiert",
  "view.agents": "Agenten", "view.templates": "Vorlagen",
  "agents.count": "{n} von {all} erreichbar", "agents.none": "Noch kein Agent angemeldet", "agents.none.how": "Der Befehl unten startet einen, der sich anmeldet.", "agents.online": "erreichbar", "agents.offline": "nicht erreichbar", "agents.seen": "gesehen {when}", "agents.notoken": "ohne Token", "agents.last": "Zuletzt:", "agents.nothing": "Dort lief noch nichts für diesen Hub.", "agents.join": "Einen Worker aufnehmen", "agents.join.how": "Auf dem Rechner des Workers neben seinem Programm ausführen; es macht ein Token, und er meldet sich selbst an. Hat dieser Hub ein REGISTRATION_TOKEN, dort dasselbe setzen.", "agents.way": "Wie", "agents.way.service": "als Dienst, Linux", "agents.way.terminal": "in einem Terminal", "agents.way.windows": "in einem Terminal, Windows", "agents.url": "Adresse, unter der dieser Hub ihn erreicht", "agents.copied": "Kopiert.", "agents.notcopied": "Der Browser lässt Seiten hier nicht kopieren: die Zeile markieren und kopieren.",
  "templates.none": "Noch keine Vorlage", "templates.count": "{n} Vorlagen", "templates.new": "Neue Vorlage", "templates.name": "Name", "templates.text": "Text des Prompts", "templates.text.how": "Platzhalter wie {{task_title}} werden je Aufgabe ausgefüllt.", "templates.provider": "Anbieter", "templates.model": "Modell", "templates.defaults": "Werte weiterer Platzhalter", "templates.defaults.how": "Ein JSON-Objekt, zum Beispiel {\"language\": \"Deutsch\"}", "templates.json": "Die Werte sind kein JSON-Objekt.", "templates.saved": "Die Vorlage ist gespeichert.", "templates.sure": "{name} entfernen? Aufgaben, Teams und Rollen, die sie benutzen, haben dann keine Vorlage.", "templates.draft": "Vom Modell entwerfen", "templates.draft.how": "Wofür soll die Vorlage sein?", "templates.drafting": "Das Modell schreibt …", "templates.order": "Schreibe den Text einer Prompt-Vorlage für einen Assistenten, der Shell-Befehle vorschlägt. Benutze die Platzhalter {{task_title}} und {{task_description}}. Antworte nur mit dem Text. Die Vorlage ist für:",
  "view.settings": "Einstellungen", "view.policy": "Regeln",
  "settings.how": "Sie gelten sofort und nach einem Neustart. Was beim Start feststeht, nennt `ananta --help`.", "settings.set": "ist gesetzt", "settings.notset": "nicht gesetzt", "settings.saved": "Gespeichert.", "settings.reset": "Vorgabe", "settings.reset.how": "Zurück zur Vorgabe", "settings.reset.of": "{name} zurück zur Vorgabe",
  "policy.try": "Einen Befehl probieren", "policy.check": "Beurteilen", "policy.rules": "Regeln", "policy.text": "policy.json", "policy.text.how": "Es zählt die erste Regel, mit deren Wörtern ein Befehl beginnt. Beispiele in match und not_match müssen zutreffen.", "policy.replay": "Am Aufgezeichneten probieren", "policy.trying": "Wird ermittelt …", "policy.total": "{n} Befehle aufgezeichnet", "policy.asked": "gefragt", "policy.denied": "verboten", "policy.same": "Nichts wäre anders entschieden worden.", "policy.more": "und {n} weitere", "policy.saved": "Gespeichert; {n} Regeln gelten ab jetzt.", "policy.json": "Das ist kein JSON: {why}", "policy.draft": "Das ist Ihr Entwurf; er ist noch nicht gespeichert.", "policy.discard": "Verwerfen",
  "view.teams": "Teams",
  "teams.none": "Noch kein Team", "teams.active": "aktiv", "teams.activate": "Zum aktiven Team machen", "teams.activated": "{name} ist jetzt das aktive Team.", "teams.nobody": "Noch niemand darin.", "teams.norole": "keine Rolle", "teams.type": "Art des Teams", "teams.notype": "keine", "teams.goal": "Ziel", "teams.members": "Mitglieder", "teams.member": "Agent", "teams.add": "Mitglied hinzufügen", "teams.new": "Neues Team", "teams.scrum": "Scrum-Team", "teams.scrum.made": "Ein Scrum-Team mit seinen ersten Aufgaben ist da.", "teams.saved": "{name} ist gespeichert.", "teams.sure": "{name} entfernen?", "teams.removed": "{name} ist entfernt.", "teams.types": "Arten von Teams", "teams.roles": "eine Rolle | {n} Rollen", "teams.addrole": "Weitere Rolle für {name}", "teams.choose": "eine Rolle …", "teams.template.of": "Vorlage von {name}", "teams.newtype": "Neue Art von Team", "teams.newrole": "Neue Rolle",
};
