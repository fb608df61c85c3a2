package policy

import (
	_ "embed" // the two files below
)

//go:embed default.toml
var defaultFile string

//go:embed template.toml
var templateFile string

// Default is the policy.toml that serve writes when there is none: no other domain is
// trusted with anything, and a mailbox here takes an invitation.
func Default() []byte { return []byte(defaultFile) }

// Template is the policy.toml that init writes: the same as Default in effect, with the parts
// that most organisations need next as comments.
func Template() []byte { return []byte(templateFile) }
