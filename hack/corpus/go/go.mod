module assay.dev/hack/corpus

go 1.26.5

require (
	github.com/anchore/syft v1.51.0
	github.com/gin-gonic/gin v1.10.0
	github.com/gohugoio/hugo v0.143.1
	github.com/prometheus/client_golang v1.20.5
	github.com/spf13/cobra v1.9.1
	google.golang.org/grpc v1.70.0
)
