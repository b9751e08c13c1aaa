module example.org/app // a comment

go 1.21

require "github.com/BurntSushi/toml" v1.3.2
require (
	golang.org/x/sys v0.1.0 // indirect
	example.org/old v1.0.0
	example.org/folder v1.0.0
	example.org/gone v1.0.0 // indirect; noted
)
replace example.org/old v1.0.0 => example.org/new v1.1.0+incompatible
replace (
	example.org/folder => ../folder
)
exclude example.org/gone v1.0.0
retract [v1.0.0, v1.9.9]
tool ()
