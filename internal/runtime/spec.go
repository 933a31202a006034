package runtime

// Image names content in the store.
type Image struct {
	Digest    string // of a manifest or an index ("sha256:…")
	MediaType string // "" = find out
	Size      int64  // bytes of the manifest; 0 = find out
	Name      string // for messages and labels only
}

// TaskSpec is what a task needs to run.
type TaskSpec struct {
	ID       string // 32 hex digits
	Netns    string // path of its network namespace; "" = a new one with nothing but lo
	CPU      int    // units, 1024 = 1 vCPU; hard limit of the whole task by CFS quota; 0 = none
	Memory   int64  // bytes; hard limit of the whole task; 0 = none
	Hostname string // "" = the first 12 digits of ID
	Resolv   string // contents of /etc/resolv.conf
	Hosts    string // contents of /etc/hosts
	// SharedPID: the containers see one another's processes, and none of them is process 1.
	SharedPID bool
	// Volumes are empty directories that live as long as the task: names as those of containers.
	Volumes    []string
	Containers []ContainerSpec // names differ
}

// ContainerSpec is one container of a task.
type ContainerSpec struct {
	Name  string // 1 to 255 letters, digits, - and _, as ECS allows
	Image Image

	// EntryPoint and Command: nil = the image's. As in Docker an EntryPoint of one's own drops the image's CMD.
	EntryPoint, Command []string
	Env                 []string // "NAME=value"; overrides the image's, the last one of a name wins
	User                string   // "", "uid", "uid:gid", "name", "name:group"; "" = the image's
	WorkingDir          string   // "" = the image's, or /; created when missing
	ReadonlyRoot        bool

	CPU    int   // shares, relative to the machine's other containers; 0 = 2, the least
	Memory int64 // bytes, hard limit; 0 = the task's
	// MemoryReservation is what the kernel leaves the container when memory is short, bytes; 0 = nothing.
	MemoryReservation int64
	Ulimits           []Ulimit          // what isn't named is the system's, but nofile, which is 65535 (Fargate's)
	PidsMax           int64             // 0 = DefaultPidsMax
	ShmBytes          int64             // size of /dev/shm; 0 = 64 MiB (Docker's)
	Sysctls           map[string]string // of the network namespace: net.*
	Mounts            []Mount
	Tmpfs             []Tmpfs

	CapAdd, CapDrop []string // "SYS_PTRACE" or "CAP_SYS_PTRACE", "ALL"; on top of Docker's default set
	// NewPrivileges lets set-user-ID programs (sudo, ping) gain privileges; false = no_new_privs is set.
	NewPrivileges bool
	InitProcess   bool // a process 1 that forwards signals and reaps zombies, the command as its child

	Log Log
}

// Ulimit is a limit of a container's processes.
type Ulimit struct {
	Name       string // as setrlimit's, in lower case: "nofile", "core", …
	Soft, Hard uint64 // math.MaxUint64 = unlimited
}

// Mount shows a directory in a container.
type Mount struct {
	Volume   string // one of the task's; "" = Source
	Source   string // a path on the machine
	Path     string // in the container, absolute; made when missing
	ReadOnly bool
	// As is whom the container's user is taken for on Source's file system: what it makes there is theirs, and what they own
	// it owns. Others own nothing there, and nobody sees other owners. Nil: everybody is who they are.
	As *User
}

// Tmpfs is a file system in memory, which counts as the container's. It is empty at every start.
type Tmpfs struct {
	Path    string   // in the container, absolute; made when missing
	Bytes   int64    // its size at most
	Options []string // of mount, on top of rw, noexec, nosuid and nodev; the last one of a kind wins
}

// User is a user with a group, by number.
type User struct{ UID, GID uint32 }

// DefaultPidsMax is how many processes and threads a container may have when its specification does not say.
// A limit guards the machine against fork bombs; a JVM with thousands of threads fits.
const DefaultPidsMax = 8192

// Log says where a container's standard output and standard error go.
type Log struct {
	Dir string // segment directory of the stream, made when missing; "" = discard
	// MaxLine: longer lines are split, bytes. 0 = 16384, as Docker does.
	MaxLine int
	// Multiline is a regular expression (RE2) that an event's first line matches; "" = each line is an event.
	Multiline string
	// Mode is what happens when lines come faster than they can be written: "blocking", "non-blocking" (lines are dropped
	// and counted), "" = the container waits a moment.
	Mode      string
	MaxBuffer int64 // what may wait to be written, bytes; 0 = 10 MiB
}
