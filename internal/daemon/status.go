package daemon

import "cmp"

// A Status is how a server's processes stand.
type Status struct {
	DataDir, ID                      string
	Endpoint, Front, Account, Region string // of the running server, or the last one
	Processes                        []Process
}

// A Process is one of a server's.
type Process struct {
	Name string
	PID  int // 0: it doesn't run
}

// StatusOf tells which processes of the server with this data directory run.
func StatusOf(dir string) (Status, error) {
	p, err := NewPaths(cmp.Or(dir, DefaultDataDir))
	if err != nil {
		return Status{}, err
	}
	r, err := readRecord(p)
	if err != nil {
		return Status{}, err
	}
	l := Status{DataDir: p.Data, ID: p.ID, Endpoint: r.Endpoint, Front: r.Front, Account: r.Account, Region: r.Region}
	l.Processes = append(l.Processes, Process{"server", r.pid()})
	for _, name := range []string{"lb", "net", "containerd", "buildkitd"} {
		l.Processes = append(l.Processes, Process{name, readPID(p.PIDFile(name)).pid()})
	}
	return l, nil
}

// Environment is what a shell needs to use the server as root of its account.
func Environment(dir string) ([][2]string, error) {
	p, err := NewPaths(cmp.Or(dir, DefaultDataDir))
	if err != nil {
		return nil, err
	}
	c, err := LoadCredentials(p)
	if err != nil {
		return nil, err
	}
	r, err := readRecord(p)
	if err != nil {
		return nil, err
	}
	return [][2]string{
		{"AWS_ENDPOINT_URL", r.Endpoint},
		{"AWS_ACCESS_KEY_ID", c.AccessKeyID},
		{"AWS_SECRET_ACCESS_KEY", c.SecretAccessKey},
		{"AWS_REGION", c.Region},
		{"AWS_DEFAULT_REGION", c.Region}, // AWS CLI 1 reads only this one
	}, nil
}

// Private

func (p process) pid() int {
	if p.alive() {
		return p.PID
	}
	return 0
}
