# Completion of vzctl in fish: the program itself says what may follow.
function __vzctl_complete
	set -l words (commandline -opc)
	set -l current (commandline -ct)
	string match -q -- '-*' $current; and set -a words $current
	command $words --generate-bash-completion 2>/dev/null | string replace -r ':.*' ''
end
complete -c vzctl -a '(__vzctl_complete)'
