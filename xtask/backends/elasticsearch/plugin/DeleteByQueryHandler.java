package switchboard;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.elasticsearch.action.ActionListener;
import org.elasticsearch.action.ActionRunnable;
import org.elasticsearch.action.bulk.BulkItemResponse;
import org.elasticsearch.action.bulk.BulkRequest;
import org.elasticsearch.action.delete.DeleteRequest;
import org.elasticsearch.action.search.SearchResponse;
import org.elasticsearch.client.internal.node.NodeClient;
import org.elasticsearch.common.Strings;
import org.elasticsearch.core.TimeValue;
import org.elasticsearch.index.query.QueryBuilder;
import org.elasticsearch.index.reindex.BulkByScrollResponse;
import org.elasticsearch.index.reindex.BulkByScrollTask;
import org.elasticsearch.rest.BaseRestHandler;
import org.elasticsearch.rest.RestRequest;
import org.elasticsearch.rest.RestResponse;
import org.elasticsearch.rest.RestStatus;
import org.elasticsearch.rest.action.RestBuilderListener;
import org.elasticsearch.search.SearchHit;
import org.elasticsearch.search.builder.SearchSourceBuilder;
import org.elasticsearch.xcontent.XContentBuilder;

/**
 * {@code POST /INDEX/_delete_by_query}: deletes what the query finds at its start, in batches, and answers when it is done. A
 * document that changed meanwhile is a conflict, as in the distribution.
 */
final class DeleteByQueryHandler extends BaseRestHandler {
    private static final TimeValue KEPT_BETWEEN_BATCHES = TimeValue.timeValueMinutes(5);

    @Override
    public String getName() {
        return "switchboard_delete_by_query";
    }

    @Override
    public List<Route> routes() {
        return List.of(new Route(RestRequest.Method.POST, "/{index}/_delete_by_query"));
    }

    @Override
    protected RestChannelConsumer prepareRequest(RestRequest request, NodeClient client) throws IOException {
        if (request.paramAsBoolean("wait_for_completion", true) == false) {
            throw new IllegalArgumentException("there are no background tasks here: leave wait_for_completion away");
        }
        String[] indices = Strings.splitStringByCommaToArray(request.param("index"));
        Deletion deletion = new Deletion(
            client,
            indices,
            query(request),
            request.paramAsInt("scroll_size", 1000),
            request.param("conflicts", "abort").equals("proceed"),
            request.paramAsBoolean("refresh", false)
        );
        // It waits for searches and writes, which a thread of the network must not.
        return channel -> client.threadPool().generic().execute(ActionRunnable.supply(new RestBuilderListener<BulkByScrollResponse>(channel) {
            @Override
            public RestResponse buildResponse(BulkByScrollResponse done, XContentBuilder json) throws IOException {
                json.startObject();
                done.toXContent(json, request);
                json.endObject();
                return new RestResponse(done.getBulkFailures().isEmpty() ? RestStatus.OK : RestStatus.CONFLICT, json);
            }
        }, deletion::run));
    }

    private static QueryBuilder query(RestRequest request) throws IOException {
        SearchSourceBuilder source = new SearchSourceBuilder();
        request.withContentOrSourceParamParserOrNull(parser -> {
            if (parser != null) {
                source.parseXContent(parser, true);
            }
        });
        if (source.query() == null) {
            throw new IllegalArgumentException("query is missing");
        }
        return source.query();
    }

    private static final class Deletion {
        private final NodeClient client;
        private final String[] indices;
        private final QueryBuilder query;
        private final int batch;
        private final boolean proceed;
        private final boolean refresh;
        private final List<BulkItemResponse.Failure> failures = new ArrayList<>();
        private long deleted = 0;
        private long conflicts = 0;
        private int batches = 0;

        Deletion(NodeClient client, String[] indices, QueryBuilder query, int batch, boolean proceed, boolean refresh) {
            this.client = client;
            this.indices = indices;
            this.query = query;
            this.batch = batch;
            this.proceed = proceed;
            this.refresh = refresh;
        }

        BulkByScrollResponse run() {
            long started = System.nanoTime();
            SearchResponse found = client.prepareSearch(indices)
                .setQuery(query)
                .setSize(batch)
                .setFetchSource(false)
                .seqNoAndPrimaryTerm(true)
                .setTrackTotalHits(true)
                .setScroll(KEPT_BETWEEN_BATCHES)
                .get();
            long total = found.getHits().getTotalHits().value;
            try {
                while (found.getHits().getHits().length > 0 && failures.isEmpty()) {
                    delete(found.getHits().getHits());
                    found = client.prepareSearchScroll(found.getScrollId()).setScroll(KEPT_BETWEEN_BATCHES).get();
                }
            } finally {
                client.prepareClearScroll().addScrollId(found.getScrollId()).execute(ActionListener.noop());
            }
            if (refresh) {
                client.admin().indices().prepareRefresh(indices).get();
            }
            TimeValue zero = TimeValue.ZERO;
            BulkByScrollTask.Status status = new BulkByScrollTask.Status(
                null, total, 0, 0, deleted, batches, conflicts, 0, 0, 0, zero, Float.POSITIVE_INFINITY, null, zero
            );
            return new BulkByScrollResponse(TimeValue.timeValueNanos(System.nanoTime() - started), status, failures, List.of(), false);
        }

        private void delete(SearchHit[] hits) {
            BulkRequest bulk = new BulkRequest();
            for (SearchHit hit : hits) {
                DeleteRequest delete = new DeleteRequest(hit.getIndex(), hit.getId());
                delete.setIfSeqNo(hit.getSeqNo()).setIfPrimaryTerm(hit.getPrimaryTerm());
                if (hit.field("_routing") != null) {
                    delete.routing(hit.field("_routing").getValue());
                }
                bulk.add(delete);
            }
            batches++;
            for (BulkItemResponse item : client.bulk(bulk).actionGet()) {
                if (item.isFailed() == false) {
                    deleted++;
                } else if (item.getFailure().getStatus() != RestStatus.CONFLICT) {
                    failures.add(item.getFailure());
                } else {
                    conflicts++;
                    if (proceed == false) {
                        failures.add(item.getFailure());
                    }
                }
            }
        }
    }
}
