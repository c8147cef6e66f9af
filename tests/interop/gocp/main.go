// A control plane on go-control-plane for tests: it serves what it is told on standard input.
//
// A line is a snapshot for every node: {"version": "1", "resources": [{"@type": …}, …]}. On
// standard output it says `listening ADDRESS` once, `set VERSION` for each snapshot, and
// `ack TYPE VERSION` or `nack TYPE MESSAGE` for what clients answer.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"sync"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
)

// Every node gets the same snapshot.
type oneForAll struct{}

func (oneForAll) ID(*core.Node) string { return "all" }

var output sync.Mutex

func say(format string, values ...any) {
	output.Lock()
	defer output.Unlock()
	fmt.Printf(format+"\n", values...)
}

func main() {
	ctx := context.Background()
	snapshots := cache.NewSnapshotCache(true, oneForAll{}, nil)
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fail(err)
	}
	grpcServer := grpc.NewServer()
	xds := server.NewServer(ctx, snapshots, callbacks())
	discovery.RegisterAggregatedDiscoveryServiceServer(grpcServer, xds)
	go func() { fail(grpcServer.Serve(socket)) }()
	say("listening %s", socket.Addr())

	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		if err := set(ctx, snapshots, lines.Bytes()); err != nil {
			fail(err)
		}
	}
}

func callbacks() server.CallbackFuncs {
	return server.CallbackFuncs{
		StreamRequestFunc: func(_ int64, request *discovery.DiscoveryRequest) error {
			if detail := request.GetErrorDetail(); detail != nil {
				say("nack %s %q", request.GetTypeUrl(), detail.GetMessage())
			} else if request.GetResponseNonce() != "" {
				say("ack %s %s", request.GetTypeUrl(), request.GetVersionInfo())
			}
			return nil
		},
		StreamDeltaRequestFunc: func(_ int64, request *discovery.DeltaDiscoveryRequest) error {
			if detail := request.GetErrorDetail(); detail != nil {
				say("nack %s %q", request.GetTypeUrl(), detail.GetMessage())
			} else if request.GetResponseNonce() != "" {
				say("ack %s %s", request.GetTypeUrl(), request.GetResponseNonce())
			}
			return nil
		},
	}
}

func set(ctx context.Context, snapshots cache.SnapshotCache, line []byte) error {
	var told struct {
		Version   string            `json:"version"`
		Resources []json.RawMessage `json:"resources"`
	}
	if err := json.Unmarshal(line, &told); err != nil {
		return err
	}
	byType := map[resource.Type][]types.Resource{
		resource.ClusterType: nil, resource.EndpointType: nil,
		resource.ListenerType: nil, resource.RouteType: nil,
	}
	for _, text := range told.Resources {
		var wrapped anypb.Any
		if err := protojson.Unmarshal(text, &wrapped); err != nil {
			return err
		}
		message, err := wrapped.UnmarshalNew()
		if err != nil {
			return err
		}
		switch message.(type) {
		case *cluster.Cluster, *endpoint.ClusterLoadAssignment, *listener.Listener, *route.RouteConfiguration:
			byType[wrapped.GetTypeUrl()] = append(byType[wrapped.GetTypeUrl()], message)
		default:
			return fmt.Errorf("%s is not served", wrapped.GetTypeUrl())
		}
	}
	snapshot, err := cache.NewSnapshot(told.Version, byType)
	if err != nil {
		return err
	}
	if err := snapshots.SetSnapshot(ctx, "all", snapshot); err != nil {
		return err
	}
	say("set %s", told.Version)
	return nil
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
