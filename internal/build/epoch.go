package build

// DefaultEpoch is the time, in seconds since 1970, to which later timestamps in an image are set: 1980-01-01 00:00:01
// UTC, as in the images of Cloud Native Buildpacks. It is the same for each version of the source, so that a layer
// whose content didn't change stays the same layer. See doc/decision/0007-reproducible-images.md.
const DefaultEpoch = "315532801"

// epochArg is the build argument by which BuildKit knows the epoch. Source: reproducible-builds.org.
const epochArg = "SOURCE_DATE_EPOCH"

// Private

// epoch is the one that counts, empty for true times.
func (o Options) epoch() string {
	if v, ok := o.Args[epochArg]; ok {
		return v
	}
	switch o.Epoch {
	case "":
		return DefaultEpoch
	case "none":
		return ""
	}
	return o.Epoch
}
