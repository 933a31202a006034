// Package lifecycle reads ECR's lifecycle policies and says which images one expires.
//
//	p, err := lifecycle.Parse(text) // err: what is wrong, in ECR's words
//	for _, a := range p.Plan(images, now) { … }
//
// It knows no repository and no clock: the same images, policy and time always have the same plan.
//
// Source: Amazon ECR User Guide, "Lifecycle policy properties" and "Automate the cleanup of images".
package lifecycle

import (
	"slices"
	"time"
)

// What a rule's images have in common.
const (
	Tagged   = "tagged"
	Untagged = "untagged"
	Any      = "any"
)

// What a rule counts. AWS has sinceImagePulled and sinceImageTransitioned besides, both for the archive alone.
const (
	CountMoreThan = "imageCountMoreThan"
	SincePushed   = "sinceImagePushed"
)

// A Policy is a list of rules, sorted by priority.
type Policy struct{ Rules []Rule }

// A Rule expires images.
type Rule struct {
	Priority    int // the lower it is, the earlier the rule has its way; unique in a policy
	Description string
	TagStatus   string   // Tagged, Untagged, Any
	Prefixes    []string // of a Tagged rule: for each of them, an image needs a tag that begins so
	Patterns    []string // of a Tagged rule, instead: for each of them, a tag that matches; * is anything, also nothing
	CountType   string   // CountMoreThan, SincePushed
	CountNumber int      // images that stay, or days
}

// An Image is what a plan needs to know of one.
type Image struct {
	Digest   string
	Tags     []string
	PushedAt time.Time
	// Held tells that a manifest list names the image, so that it stays as long as that does.
	Held bool
}

// An Action expires an image, in the name of one rule.
type Action struct {
	Digest   string
	Priority int
}

// Plan tells what the policy expires at a time, oldest images first within a rule:
//
//   - Every rule looks at all images, as if no other rule were there.
//   - What a rule of CountMoreThan n looks at is sorted by time of push; all but the newest n are marked.
//   - What a rule of SincePushed n days looks at is marked if it was pushed longer ago than that.
//   - An image that a rule looks at is that rule's: no later one can expire it, even if this one keeps it.
//   - An image that a manifest list names counts, and stays. Once the list has gone, the next plan may have it.
func (p Policy) Plan(images []Image, now time.Time) []Action {
	var actions []Action
	seen := map[string]bool{}
	newest := slices.SortedFunc(slices.Values(images), newer)
	for _, r := range p.Rules {
		var own []Image
		for _, i := range newest {
			if r.selects(i) {
				own = append(own, i)
			}
		}
		marked := r.marks(own, now)
		slices.Reverse(marked)
		for _, i := range marked {
			if !seen[i.Digest] && !i.Held {
				actions = append(actions, Action{i.Digest, r.Priority})
			}
		}
		for _, i := range own {
			seen[i.Digest] = true
		}
	}
	return actions
}

// Private

// newer sorts by time of push, the newest first; equal times by digest, so that a plan doesn't depend on chance.
func newer(a, b Image) int {
	if c := b.PushedAt.Compare(a.PushedAt); c != 0 {
		return c
	}
	if a.Digest < b.Digest {
		return -1
	}
	return 1
}

// selects tells whether an image meets the rule's tagging requirements.
func (r Rule) selects(i Image) bool {
	switch r.TagStatus {
	case Any:
		return true
	case Untagged:
		return len(i.Tags) == 0
	}
	for _, p := range r.Prefixes {
		if !slices.ContainsFunc(i.Tags, func(t string) bool { return len(t) >= len(p) && t[:len(p)] == p }) {
			return false
		}
	}
	for _, p := range r.Patterns {
		if !slices.ContainsFunc(i.Tags, func(t string) bool { return match(p, t) }) {
			return false
		}
	}
	return len(i.Tags) > 0
}

// marks picks those of the rule's images, newest first, that have had their time.
func (r Rule) marks(own []Image, now time.Time) []Image {
	if r.CountType == CountMoreThan {
		return own[min(r.CountNumber, len(own)):]
	}
	limit := now.AddDate(0, 0, -r.CountNumber)
	first := slices.IndexFunc(own, func(i Image) bool { return i.PushedAt.Before(limit) })
	if first < 0 {
		return nil
	}
	return own[first:]
}

// match knows one special character: * is any run of characters.
func match(pattern, s string) bool {
	star, from := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			from++
			p, i = star+1, from
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
