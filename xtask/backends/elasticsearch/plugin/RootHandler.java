package switchboard;

import java.io.IOException;
import java.util.List;
import org.elasticsearch.Build;
import org.elasticsearch.action.admin.cluster.state.ClusterStateResponse;
import org.elasticsearch.client.internal.node.NodeClient;
import org.elasticsearch.index.IndexVersion;
import org.elasticsearch.rest.BaseRestHandler;
import org.elasticsearch.rest.RestRequest;
import org.elasticsearch.rest.RestResponse;
import org.elasticsearch.rest.RestStatus;
import org.elasticsearch.rest.action.RestBuilderListener;
import org.elasticsearch.xcontent.XContentBuilder;

/** {@code GET /}: clients read the version there and refuse a server that does not answer it. */
final class RootHandler extends BaseRestHandler {

    @Override
    public String getName() {
        return "switchboard_root";
    }

    @Override
    public List<Route> routes() {
        return List.of(new Route(RestRequest.Method.GET, "/"), new Route(RestRequest.Method.HEAD, "/"));
    }

    @Override
    protected RestChannelConsumer prepareRequest(RestRequest request, NodeClient client) {
        return channel -> client.admin()
            .cluster()
            .prepareState()
            .clear()
            .setMetadata(true)
            .execute(new RestBuilderListener<ClusterStateResponse>(channel) {
                @Override
                public RestResponse buildResponse(ClusterStateResponse state, XContentBuilder json) throws IOException {
                    json.startObject();
                    json.field("name", "switchboard");
                    json.field("cluster_name", state.getClusterName().value());
                    json.field("cluster_uuid", state.getState().metadata().clusterUUID());
                    version(json, Build.current());
                    json.field("tagline", "You Know, for Search");
                    json.endObject();
                    return new RestResponse(RestStatus.OK, json);
                }
            });
    }

    private static void version(XContentBuilder json, Build build) throws IOException {
        json.startObject("version");
        json.field("number", build.qualifiedVersion());
        json.field("build_flavor", build.flavor());
        json.field("build_type", build.type().displayName());
        json.field("build_hash", build.hash());
        json.field("build_date", build.date());
        json.field("build_snapshot", build.isSnapshot());
        json.field("lucene_version", IndexVersion.current().luceneVersion().toString());
        json.field("minimum_wire_compatibility_version", build.minWireCompatVersion());
        json.field("minimum_index_compatibility_version", build.minIndexCompatVersion());
        json.endObject();
    }
}
