module github.com/vzctl/vzctl/tools

go 1.26
