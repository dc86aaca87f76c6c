package command

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
	"github.com/vzctl/vzctl/core/service"
)

func newService(p *program) *cli.Command {
	return &cli.Command{
		Name:  "service",
		Usage: "have containers start at boot, as their restart policies say",
		Subcommands: []*cli.Command{
			{
				Name:  "install",
				Usage: "have the host's service manager run \"vzctl system autostart\" at boot",
				Description: "For root it is a service of the machine, for others one of the user: systemd's, on macOS launchd's. Prints the path of its file.\n" +
					"A user's services begin with the first login; \"loginctl enable-linger\" lets them begin at boot.",
				Action: p.serviceAction(func(c *cli.Context, host service.Host, spec service.Spec) error {
					path, err := host.Install(c.Context, spec)
					if err != nil {
						return err
					}
					return printLine(c, path)
				}),
			},
			{
				Name:  "uninstall",
				Usage: "remove the service; containers that run go on",
				Action: p.serviceAction(func(c *cli.Context, host service.Host, _ service.Spec) error {
					return host.Uninstall(c.Context)
				}),
			},
			{
				Name:  "status",
				Usage: "print whether the service is there; the exit code is 1 if it is not",
				Flags: []cli.Flag{formatFlag("table")},
				Action: p.serviceAction(func(c *cli.Context, host service.Host, spec service.Spec) error {
					st, err := host.Status(c.Context, spec)
					if err != nil {
						return err
					}
					return errors.Join(printService(c, st), serviceCode(st))
				}),
			},
		},
	}
}

func printService(c *cli.Context, st service.Status) error {
	if c.String("format") == "json" {
		return printJSON(c, st)
	}
	rows := [][2]string{{"file", st.Path}, {"installed", strconv.FormatBool(st.Installed)}}
	if st.Installed {
		rows = append(rows, [2]string{"as install would write it", strconv.FormatBool(st.Current)})
	}
	if st.Manager != "" {
		rows = append(rows, [2]string{"systemd", st.Manager})
	}
	return pairs(c, rows)
}

func serviceCode(st service.Status) error {
	if !st.Installed {
		return status(codePart)
	}
	return nil
}

// serviceAction gives an action the host as it is, and the service for this program and root.
func (p *program) serviceAction(do func(c *cli.Context, host service.Host, spec service.Spec) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		if err := arguments(c, 0, 0, ""); err != nil {
			return err
		}
		return p.withEngine(func(c *cli.Context, api engine.API) error {
			info, err := api.SystemInfo(c.Context)
			if err != nil {
				return err
			}
			program, err := os.Executable()
			if err != nil {
				return err
			}
			spec := service.Spec{Program: program, Root: info.Root}
			config, _ := p.LookupEnv("XDG_CONFIG_HOME")
			if filepath.IsAbs(config) {
				spec.Environment = []string{"XDG_CONFIG_HOME=" + config}
			} else {
				config = ""
			}
			home, _ := p.LookupEnv("HOME")
			host := service.Host{OS: runtime.GOOS, User: os.Geteuid() != 0, Home: home, ConfigHome: config, Run: runCommand}
			return do(c, host, spec)
		})(c)
	}
}

func runCommand(ctx context.Context, name string, args ...string) (string, error) {
	output, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	return string(output), err
}
