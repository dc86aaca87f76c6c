package ext4

import "fmt"

func (fs *Reader) replay() error { return fmt.Errorf("%w: journal needs recovery", ErrUnsupported) }
