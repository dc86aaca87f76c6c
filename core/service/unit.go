package service

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// unit is the service for systemd. The containers outlive the command that starts them, hence KillMode; at the host's end they are stopped, and stay wanted.
func (s Spec) unit(user bool) string {
	target, home := "multi-user.target", "Environment=HOME=%h\n" // which a system service does not have
	if user {
		target, home = "default.target", ""
	}
	var environment strings.Builder
	for _, e := range s.Environment {
		fmt.Fprintf(&environment, "Environment=%s\n", quoteUnit(e, false))
	}
	return `[Unit]
Description=Containers of vzctl that are to run from boot
Documentation=https://github.com/vzctl/vzctl/blob/main/docs/restart.md
After=network.target
RequiresMountsFor=` + quoteUnit(s.Root, false) + `

[Service]
Type=oneshot
RemainAfterExit=yes
` + home + environment.String() + `ExecStart=` + s.command("autostart") + `
ExecStop=` + s.command("autostop") + `
KillMode=process
Restart=on-failure
RestartSec=1min
TimeoutStartSec=10min
TimeoutStopSec=2min

[Install]
WantedBy=` + target + `
`
}

func (s Spec) command(verb string) string {
	words := []string{s.Program, "--root", s.Root, "system", verb}
	for i, w := range words {
		words[i] = quoteUnit(w, true)
	}
	return strings.Join(words, " ")
}

// quoteUnit writes a word as systemd reads it. In commands "$" would be a variable.
func quoteUnit(word string, command bool) string {
	escapes := []string{`\`, `\\`, `"`, `\"`, `%`, `%%`}
	if command {
		escapes = append(escapes, `$`, `$$`)
	}
	escaped := strings.NewReplacer(escapes...).Replace(word)
	if escaped == word && !strings.ContainsAny(word, " \t';#") {
		return word
	}
	return `"` + escaped + `"`
}

// propertyList is the service for launchd, which would end the containers together with the command that starts them.
func (s Spec) propertyList() string {
	var words, environment strings.Builder
	for _, w := range []string{s.Program, "--root", s.Root, "system", "autostart"} {
		fmt.Fprintf(&words, "\t\t<string>%s</string>\n", quoteXML(w))
	}
	for _, e := range s.Environment {
		name, value, _ := strings.Cut(e, "=")
		fmt.Fprintf(&environment, "\t\t<key>%s</key>\n\t\t<string>%s</string>\n", quoteXML(name), quoteXML(value))
	}
	if environment.Len() > 0 {
		words.WriteString("\t</array>\n\t<key>EnvironmentVariables</key>\n\t<dict>\n" + environment.String() + "\t</dict>\n")
	} else {
		words.WriteString("\t</array>\n")
	}
	return `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
	<key>Label</key>
	<string>` + label + `</string>
	<key>ProgramArguments</key>
	<array>
` + words.String() + `	<key>RunAtLoad</key>
	<true/>
	<key>AbandonProcessGroup</key>
	<true/>
</dict>
</plist>
`
}

func quoteXML(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // to memory
	return b.String()
}
