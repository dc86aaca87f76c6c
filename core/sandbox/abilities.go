package sandbox

// Complete reports whether a guest has all optional abilities that a sandbox makes use of.
func Complete(offers func(feature string) bool) bool {
	for _, feature := range []string{featureBegin, featureRun, featureBrief, featureBriefRun, featureSockets, featureIOLimits, featureJournal} {
		if !offers(feature) {
			return false
		}
	}
	return true
}
