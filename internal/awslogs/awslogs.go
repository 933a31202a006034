// Package awslogs reads the options of the log driver awslogs.
// Source: ECS Developer Guide, using_awslogs; Docker, awslogs logging driver.
package awslogs

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/docker/go-units"
)

// Options are a container's log options, read.
type Options struct {
	Group, Region, StreamPrefix string // Region may be empty: the task's
	CreateGroup                 bool   // make the group when it is missing
	// Multiline is a regular expression (RE2). An event begins with a line that matches, and has the lines after it that
	// don't. Empty: each line is an event.
	Multiline string
	// Mode is what happens when the buffer is full: "blocking", "non-blocking" (lines are dropped) or "", which is not said.
	Mode      string
	MaxBuffer int64 // bytes; 0 = not said
}

// The modes.
const (
	Blocking    = "blocking"
	NonBlocking = "non-blocking"
)

// A buffer's least and greatest size, bytes. The least holds an event of any size.
const (
	MinBuffer = 1 << 20
	MaxBuffer = 1 << 30
)

// Error is an option that is wrong, as a sentence of the ECS API.
type Error string

func (e Error) Error() string { return string(e) }

// Parse reads options; its error is an Error.
func Parse(options map[string]string) (Options, error) {
	o := Options{Group: options["awslogs-group"], Region: options["awslogs-region"], StreamPrefix: options["awslogs-stream-prefix"]}
	if o.Group == "" {
		return o, refuse("Log driver awslogs requires options: awslogs-group")
	}
	if o.StreamPrefix == "" { // required on Fargate
		return o, refuse("Log driver awslogs requires options: awslogs-stream-prefix")
	}
	var err error
	for _, k := range slices.Sorted(maps.Keys(options)) {
		v := options[k]
		switch k {
		case "awslogs-group", "awslogs-region", "awslogs-stream-prefix":
		case "awslogs-create-group":
			if v != "true" && v != "false" {
				return o, refuse("awslogs-create-group is true or false, not '%s'.", v)
			}
			o.CreateGroup = v == "true"
		case "awslogs-multiline-pattern", "awslogs-datetime-format":
			if o.Multiline != "" {
				return o, refuse("awslogs-datetime-format and awslogs-multiline-pattern can't be used together.")
			}
			o.Multiline = v
			if k == "awslogs-datetime-format" {
				if o.Multiline, err = datetime(v); err != nil {
					return o, refuse("awslogs-datetime-format: %v", err)
				}
			}
			if _, err := regexp.Compile(o.Multiline); err != nil || o.Multiline == "" {
				return o, refuse("%s can't be understood (RE2 syntax: no look-around, no back-references): '%s'", k, v)
			}
		case "mode":
			if v != Blocking && v != NonBlocking {
				return o, refuse("The log option mode is blocking or non-blocking, not '%s'.", v)
			}
			o.Mode = v
		case "max-buffer-size":
			o.MaxBuffer, err = units.RAMInBytes(v)
			if err != nil || o.MaxBuffer < MinBuffer || o.MaxBuffer > MaxBuffer {
				return o, refuse("The log option max-buffer-size is a size from 1m to 1g, such as 25m, not '%s'.", v)
			}
		default:
			return o, refuse("Lotse does not act on the log option %s yet, so it does not accept it.", k)
		}
	}
	if o.Mode == Blocking && o.MaxBuffer != 0 {
		return o, refuse("The log option max-buffer-size is for the mode non-blocking.")
	}
	return o, nil
}

// Private

func refuse(format string, a ...any) error { return Error(fmt.Sprintf(format, a...)) }

// verbs of strftime. Source: Docker, awslogs logging driver, awslogs-datetime-format.
var verbs = map[byte]string{
	'a': `(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)`,
	'A': `(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day`,
	'w': `[0-6]`,
	'd': `(?:0[1-9]|[12][0-9]|3[01])`,
	'b': `(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)`,
	'B': `(?:January|February|March|April|May|June|July|August|September|October|November|December)`,
	'm': `(?:0[1-9]|1[0-2])`,
	'Y': `[0-9]{4}`,
	'y': `[0-9]{2}`,
	'H': `(?:[01][0-9]|2[0-3])`,
	'I': `(?:0[1-9]|1[0-2])`,
	'p': `[AP]M`,
	'M': `[0-5][0-9]`,
	'S': `[0-5][0-9]`,
	'L': `\.[0-9]{3}`,
	'f': `[0-9]{6}`,
	'z': `[+-][0-9]{4}`,
	'Z': `[A-Z]{1,4}T`,
	'j': `(?:00[1-9]|0[1-9][0-9]|[12][0-9][0-9]|3[0-5][0-9]|36[0-6])`,
	'%': `%`,
}

// datetime is a strftime format as a regular expression. What isn't a verb is one already: a bracket is written \[.
// Source: Docker, awslogs logging driver, the example of awslogs-datetime-format.
func datetime(format string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			b.WriteByte(format[i])
			continue
		}
		i++
		if i == len(format) || verbs[format[i]] == "" {
			return "", fmt.Errorf("'%s' has a verb that isn't known; known are %%a %%A %%w %%d %%b %%B %%m %%Y %%y %%H %%I %%p %%M %%S %%L %%f %%z %%Z %%j", format)
		}
		b.WriteString(verbs[format[i]])
	}
	return b.String(), nil
}
